"""Loads one plugin: imports its module and lets it register its executors, all or none.

Each plugin registers with a manager of its own, so that its mistakes cannot affect another.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from ..words.errors import BadConfiguration
from ..words.executor import GROUP, Executor, Hooks, Offer, Offered, Register, Run
from ..words.limits import MAX_TEXT

_ENTRY_POINT = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\]\s*)?\Z")


def load(plugin: str, module: str) -> dict[str, Executor]:
    """The executors of a plugin, by name; `module` is the value of its entry point.

    Raises whatever the plugin raises, and BadConfiguration for an invalid registration.
    """
    return _register(plugin, _resolve(module))


def load_inline(executors: Mapping[str, Offered]) -> dict[str, Offered]:
    """These executors, with the code of the inline ones loaded into this process.

    Raises BadConfiguration for a plugin that cannot be loaded here.
    """
    return {
        name: _load_here(one) if one.inline and not isinstance(one, Executor) else one
        for name, one in executors.items()
    }


def _load_here(offer: Offer) -> Executor:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return load(offer.plugin, offer.module)[offer.name]
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        raise BadConfiguration(
            f"executor {offer.name!r} runs inside the worker, and its plugin {offer.plugin!r} "
            f"cannot be loaded there: {evidence(error)}"
        ) from error


def _resolve(module: str) -> object:
    match = _ENTRY_POINT.match(module)
    if match is None:
        raise BadConfiguration(f"the entry point {module!r} is not 'module' or 'module:name'")
    names = match["attribute"].split(".") if match["attribute"] else []
    return functools.reduce(getattr, names, importlib.import_module(match["module"]))


def _register(name: str, module: object) -> dict[str, Executor]:
    """The executors that the plugin `module` registers. Raises whatever is wrong with it."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(module, name)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise BadConfiguration(
            f"{module!r} has no hook: define masterworker_register_executors(register) in it and "
            "mark it with @hookimpl from masterworker"
        )
    executors: dict[str, Executor] = {}
    manager.hook.masterworker_register_executors(register=_bound(name, executors))
    return executors


_SETTINGS = {"inline", "time_limit", "attempts", "config"}


def _bound(plugin: str, executors: dict[str, Executor]) -> Register:
    def register(name: str, run: Run, **settings: Any) -> None:
        unknown = sorted(settings.keys() - _SETTINGS)
        if unknown:
            raise BadConfiguration(
                f"executor {name!r}: register() has no setting {unknown[0]!r} in this version of "
                f"masterworker, only {', '.join(sorted(_SETTINGS))}"
            )
        executor = Executor(name, run, **settings, plugin=plugin)
        if name in executors:
            raise BadConfiguration(f"executor {name!r} is registered twice by one plugin")
        executors[name] = executor

    return register


_PASSED_THROUGH = (
    str(Path(__file__).parents[1]),
    str(Path(pluggy.__file__).parent),
    str(Path(importlib.__file__).parent),
    "<",  # importlib and dataclass methods, which have no file
)
"""Where the frames are that every plugin's loading goes through and that explain nothing."""


def evidence(error: BaseException) -> str:
    """One line of limited length: the exception, and the last line of the plugin's own code."""
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_PASSED_THROUGH)]
    where = f" (line {theirs[-1].lineno} of {theirs[-1].filename})" if theirs else ""
    return what[:MAX_TEXT] + where
