"""Executors and their registration: the interface for plugin authors.

An executor is a function that takes a payload and a TaskContext and returns the result. A plugin is
a module with a `masterworker_register_executors` hook, which registers executors by name; the entry
point group `masterworker` announces it. The hook only registers executors, and plain calls run
them: a pluggy hook that *ran* tasks could not tell a result of None from "not mine".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pluggy

from .errors import BadConfiguration
from .limits import MAX_ATTEMPTS
from .paths import check_executor

GROUP: Final = "masterworker"
"""The entry point group for plugins, and pluggy's project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True)
class TaskContext:
    """Information about the attempt, passed to an executor together with the payload.

    `attempt` counts from 1. `submitted` is when the client submitted the task, in seconds since the
    epoch. `options` come from the client and are untrusted input; `config` is the operator's
    configuration of this executor, as returned by the executor's own `config` function. `sealed`
    means that the client encrypted the payload: do not log any of it.
    """

    task_id: str
    executor: str
    worker: str = ""
    attempt: int = 1
    submitted: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    config: Any = None
    sealed: bool = False


Run = Callable[[bytes, TaskContext], bytes | None]
"""An executor's function. It returns the result; None means an empty result. Any exception fails
the attempt, with the end of its traceback as evidence."""

Configure = Callable[[Mapping[str, Any]], Any]
"""Checks the operator's configuration of an executor and returns the value of `task.config`. It
raises ValueError with the problem and its remedy."""


class Register(Protocol):
    """The function passed to a plugin's hook; see `Executor` for the arguments."""

    def __call__(
        self,
        name: str,
        run: Run,
        *,
        inline: bool = False,
        time_limit: float | None = None,
        attempts: int = 1,
        config: Configure | None = None,
    ) -> None: ...


class Hooks:
    """The hooks that a plugin can implement."""

    @hookspec
    def masterworker_register_executors(self, register: Register) -> None:
        """Call `register(name, run)` for every executor of this plugin."""


@dataclass(frozen=True, slots=True)
class Executor:
    """A registered executor.

    `name` is the executor's name in `--executor` and `submit`. `inline` means that it is trivial:
    it never blocks, cannot crash, and may run inside the worker's own process. `time_limit` is how
    many seconds an attempt may run before its process is killed. `attempts` is the number of
    attempts of a task that does not set it. `plugin` names the entry point it came from.
    """

    name: str
    run: Run
    inline: bool = False
    time_limit: float | None = None
    attempts: int = 1
    config: Configure | None = None
    plugin: str = ""

    def __post_init__(self) -> None:
        check_executor(self.name)
        if not callable(self.run):
            raise BadConfiguration(f"executor {self.name!r}: run is not callable: {self.run!r}")
        _check_settings(self)


@dataclass(frozen=True, slots=True)
class Offer:
    """An executor as known to a worker, without its code.

    `module` is the value of the plugin's entry point, which a child process imports to run it.
    `refusal` says why the executor does not accept its configuration; it is empty if it does. The
    other fields are those of `Executor`.
    """

    name: str
    inline: bool = False
    time_limit: float | None = None
    attempts: int = 1
    plugin: str = ""
    module: str = ""
    refusal: str = ""

    def __post_init__(self) -> None:
        check_executor(self.name)
        _check_settings(self)


Offered = Executor | Offer
"""An executor that a worker runs: with its code if it is inline, else without."""


def _check_settings(executor: Offered) -> None:
    name, limit = executor.name, executor.time_limit
    if not 1 <= executor.attempts <= MAX_ATTEMPTS:
        raise BadConfiguration(
            f"executor {name!r}: attempts={executor.attempts!r}, expected 1 to {MAX_ATTEMPTS}"
        )
    if limit is not None and not 0 < limit < float("inf"):
        raise BadConfiguration(f"executor {name!r}: time_limit={limit!r}, expected seconds above 0")
    if executor.inline and limit is not None:
        raise BadConfiguration(
            f"executor {name!r}: time_limit and inline=True cannot be combined, because an inline "
            "attempt cannot be stopped. Remove one of them"
        )


_ASKED = re.compile(r"(?:(?P<plugin>[^:\s]+):)?(?P<name>[^:\s]+)\Z")


def split_asked(asked: str) -> tuple[str | None, str]:
    """Split `[plugin:]name`, an operator's name for an executor, into plugin and name."""
    match = _ASKED.match(asked)
    if match is None:
        raise BadConfiguration(
            f"{asked!r} is not the name of an executor: expected NAME or PLUGIN:NAME"
        )
    return match["plugin"], check_executor(match["name"])
