"""The installed plugins and the executors they bring, with a record of what became of each.

pluggy can load a whole entry point group in one call, but the first plugin that cannot be imported
then takes all the others down with it. So each plugin is loaded alone, into a manager of its own:
what one does wrong stays its own, and is written down with its distribution and version. Nothing
is decided by the order of loading: where two plugins claim a name, neither has it.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

import pluggy

from ..words.errors import BadConfiguration
from ..words.executor import GROUP, Executor, Hooks, Register, Run, split_asked
from ..words.limits import MAX_TEXT


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one entry point; a row of `mwctl plugins list`.

    `broken` is a plugin that could not be loaded and brings nothing. `conflict` is one that shares
    a name with another, or is hidden by another installation of its own distribution. `reason`
    says what is wrong and how to put it right; it is empty for `ok`.
    """

    name: str
    distribution: str
    version: str
    executors: tuple[str, ...]
    status: Literal["ok", "broken", "conflict"]
    reason: str


@dataclass(frozen=True, slots=True)
class _Plugin:
    """An entry point and, once loaded, its executors. `broken` or `hidden` say why it has none."""

    name: str
    distribution: str
    version: str
    entry_point: metadata.EntryPoint | None = None
    executors: tuple[Executor, ...] = ()
    broken: str = ""
    hidden: str = ""

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution} {self.version})"

    def order(self) -> tuple[str, str, bool, str]:
        return self.name, self.distribution, bool(self.hidden), self.version

    def load(self) -> _Plugin:
        """Import the plugin and let it register, all or nothing."""
        if self.entry_point is None:
            return self
        try:
            return replace(self, executors=_register(self.name, self.entry_point.load()))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            return replace(self, broken=_evidence(error))


class Plugins:
    """The plugins of this environment. `records` has one row for each, sorted by name."""

    def __init__(self, plugins: Iterable[_Plugin]) -> None:
        self._plugins = tuple(plugins)
        self.records = tuple(self._record(plugin) for plugin in self._plugins)

    @classmethod
    def load(cls) -> Self:
        """Load every plugin on the path, in the order of their names. Never raises for a plugin."""
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for `mwctl`'s data alone
            return cls([plugin.load() for plugin in sorted(_find(), key=_Plugin.order)])

    def names(self) -> list[str]:
        """The bare names that stand for exactly one executor, sorted."""
        every = [executor.name for plugin in self._plugins for executor in plugin.executors]
        return sorted(name for name in set(every) if every.count(name) == 1)

    def executor(self, asked: str) -> Executor:
        """The executor that an operator asks for as `NAME` or `PLUGIN:NAME`.

        Raises BadConfiguration if there is none, or more than one.
        """
        wanted, name = split_asked(asked)
        found = [
            (plugin, executor)
            for plugin, executor in self._registrations(name)
            if wanted in (None, plugin.name)
        ]
        if not found:
            raise BadConfiguration(self._unknown(asked))
        if len(found) > 1:
            raise BadConfiguration(_ambiguous(name, [plugin for plugin, _ in found]))
        return found[0][1]

    def executors(self, asked: Sequence[str]) -> dict[str, Executor]:
        """The executors a worker is to run, by bare name: that is all that a task says.

        Raises BadConfiguration if one is missing or ambiguous, or two have the same bare name.
        """
        chosen: dict[str, Executor] = {}
        for one in asked:
            executor = self.executor(one)
            other = chosen.setdefault(executor.name, executor)
            if other is not executor:
                raise BadConfiguration(
                    f"a worker can run one executor named {executor.name!r}, and was asked for "
                    f"those of the plugins {other.plugin!r} and {executor.plugin!r}: start one "
                    "worker for each"
                )
        return chosen

    def _registrations(self, name: str) -> list[tuple[_Plugin, Executor]]:
        return [
            (plugin, executor)
            for plugin in self._plugins
            for executor in plugin.executors
            if executor.name == name
        ]

    def _record(self, plugin: _Plugin) -> PluginRecord:
        conflict = plugin.hidden or "; ".join(self._conflicts(plugin))
        return PluginRecord(
            name=plugin.name,
            distribution=plugin.distribution,
            version=plugin.version,
            executors=tuple(sorted(executor.name for executor in plugin.executors)),
            status="broken" if plugin.broken else "conflict" if conflict else "ok",
            reason=plugin.broken or conflict,
        )

    def _conflicts(self, plugin: _Plugin) -> Iterator[str]:
        for other in self._plugins:
            if other is not plugin and other.name == plugin.name and not other.hidden:
                yield (
                    f"{other.distribution} {other.version} has a plugin of the same name: "
                    "uninstall one of the two"
                )
        for executor in plugin.executors:
            sources = [source for source, _ in self._registrations(executor.name)]
            if len(sources) > 1:
                yield _ambiguous(executor.name, sources)

    def _unknown(self, asked: str) -> str:
        there_are = ", ".join(self.names()) or "none at all"
        broken = "".join(
            f"\n{plugin} could not be loaded: {plugin.broken}"
            for plugin in self._plugins
            if plugin.broken
        )
        return (
            f"no executor {asked!r}; there are: {there_are}. Install the package that brings it "
            f"into this environment ({sys.prefix}) with pip install, and see what was found with "
            f"mwctl plugins list{broken}"
        )


def _ambiguous(name: str, sources: Sequence[_Plugin]) -> str:
    claim = f"executor {name!r} is registered by {' and by '.join(map(str, sources))}"
    choices = sorted({f"{plugin.name}:{name}" for plugin in sources})
    if len(choices) < len(sources):
        return f"{claim}: uninstall one of them"
    return f"{claim}: ask for {' or '.join(choices)}"


# --- finding -----------------------------------------------------------------------------------


def _find() -> Iterator[_Plugin]:
    """Every entry point of our group, not yet loaded, those of hidden distributions too.

    `importlib.metadata.entry_points()` drops the second installation of a distribution without a
    word. Its modules are indeed out of reach, since Python imports the first; but whoever upgraded
    the second one should be told.
    """
    first: dict[str, tuple[str, str]] = {}
    for folder, name, version, distribution in _distributions():
        here = (version, folder)
        shown = first.setdefault(re.sub(r"[-_.]+", "-", name).lower(), here)
        hidden = "" if shown == here else _hidden(name, shown, here)
        try:
            entry_points = distribution.entry_points.select(group=GROUP)
        except Exception as error:  # noqa: BLE001 - the parser raises whatever it stumbles over
            broken = f"entry_points.txt in {folder} cannot be read: {_evidence(error)}"
            yield _Plugin(name, name, version, broken=broken)
            continue
        for entry_point in entry_points:
            to_load = None if hidden else entry_point
            yield _Plugin(entry_point.name, name, version, to_load, hidden=hidden)


def _distributions() -> list[tuple[str, str, str, metadata.Distribution]]:
    """Folder, name, version and distribution of all with plugins, in the order of `sys.path`."""
    places: dict[str, int] = {}
    found: dict[tuple[int, str, str], tuple[str, str, str, metadata.Distribution]] = {}
    for distribution in filter(_may_have_plugins, metadata.distributions()):
        folder = str(Path(str(distribution.locate_file(""))).resolve())
        place = places.setdefault(folder, len(places))
        name, version = _field(distribution, "Name"), _field(distribution, "Version")
        # A folder that stands on the path twice shows the same distribution twice: it is one.
        found.setdefault((place, name, version), (folder, name, version, distribution))
    return [found[key] for key in sorted(found)]


def _may_have_plugins(distribution: metadata.Distribution) -> bool:
    try:
        return f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
    except UnicodeDecodeError:
        return True  # reading its entry points will fail again, and will be reported


def _field(distribution: metadata.Distribution, key: str) -> str:
    try:
        return distribution.metadata[key] or "unknown"
    except Exception:  # noqa: BLE001 - versions of Python differ on a missing or damaged METADATA
        return "unknown"


def _hidden(name: str, shown: tuple[str, str], here: tuple[str, str]) -> str:
    return (
        f"{name} {here[0]} in {here[1]} is hidden by {name} {shown[0]} in {shown[1]}, which comes "
        "first on Python's path: uninstall one of the two"
    )


# --- loading -----------------------------------------------------------------------------------


def _register(name: str, module: object) -> tuple[Executor, ...]:
    """What the plugin `module` registers. Raises whatever is wrong with it."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(module, name)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise BadConfiguration(
            f"{module!r} has no hook: define masterworker_register_executors(register) in it and "
            "mark it with @hookimpl of masterworker"
        )
    executors: dict[str, Executor] = {}
    manager.hook.masterworker_register_executors(register=_bound(name, executors))
    return tuple(executors.values())


_SETTINGS = {"inline", "time_limit", "attempts", "config"}


def _bound(plugin: str, executors: dict[str, Executor]) -> Register:
    def register(name: str, run: Run, **settings: Any) -> None:
        unknown = sorted(settings.keys() - _SETTINGS)
        if unknown:
            raise BadConfiguration(
                f"executor {name!r}: register() knows no {unknown[0]!r} in this version of "
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
    "<",  # importlib and the methods of dataclasses, which lie in no file
)
"""Where the frames lie that every plugin's loading goes through, and that say nothing of it."""


def _evidence(error: BaseException) -> str:
    """One bounded line: which exception it was, and the last place of the plugin's own."""
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_PASSED_THROUGH)]
    where = f" (line {theirs[-1].lineno} of {theirs[-1].filename})" if theirs else ""
    return what[:MAX_TEXT] + where
