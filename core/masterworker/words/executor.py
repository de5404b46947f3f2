"""What an executor is, and how a plugin brings one: the part of the house plugin authors see.

An executor is a function of a payload and a TaskContext that returns the result. A plugin is a
module with a `masterworker_register_executors` hook that registers executors by name; the entry
point group `masterworker` makes it known. Hooks register, plain calls execute: a pluggy hook that
*ran* tasks could not tell a result of None from "not mine".
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
"""The entry point group in which plugins make themselves known, and pluggy's project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What an executor is told about the attempt it runs, beside the payload.

    `attempt` counts from 1. `submitted` is when the client submitted the task, in seconds since the
    epoch. `options` are the client's, and not to be trusted; `config` is what the operator
    configured for this executor, as the executor's own `config` function returned it. `sealed` says
    that the client encrypted the payload: nothing of it belongs into a log.
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
"""An executor's function. It returns the result; None stands for an empty one. Any exception fails
the attempt, with the end of its traceback as evidence."""

Configure = Callable[[Mapping[str, Any]], Any]
"""Checks what the operator configured for an executor and returns what the executor wants to see
as `task.config`; it raises ValueError with what is wrong and what to write instead."""


class Register(Protocol):
    """The function a plugin's hook is given; see `Executor` for what the arguments mean."""

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
    """The hooks a plugin can implement."""

    @hookspec
    def masterworker_register_executors(self, register: Register) -> None:
        """Call `register(name, run)` for every executor this plugin brings."""


@dataclass(frozen=True, slots=True)
class Executor:
    """A registered executor.

    `name` is what `--executor` and `submit` call it. `inline` says that it is trivial: it never
    blocks and cannot crash, and may run inside the worker's own process. `time_limit` is the most
    seconds one attempt may run before its process is killed. `attempts` is how many attempts a task
    gets that does not say so itself. `plugin` names the entry point it came from.
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
    """An executor as a worker knows it that does not have its code.

    `module` is the value of the plugin's entry point: what a child process imports to run it.
    `refusal` says why the executor does not accept its configuration; it is empty if all is well.
    The other fields are those of `Executor`.
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
"""An executor that a worker runs: inline ones with their code, all others without."""


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
            f"executor {name!r}: an inline attempt cannot be stopped, so it can have no "
            "time_limit: leave out inline=True"
        )


_ASKED = re.compile(r"(?:(?P<plugin>[^:\s]+):)?(?P<name>[^:\s]+)\Z")


def split_asked(asked: str) -> tuple[str | None, str]:
    """Split `[plugin:]name`, as an operator asks for an executor, into plugin and name."""
    match = _ASKED.match(asked)
    if match is None:
        raise BadConfiguration(f"{asked!r} names no executor: expected NAME or PLUGIN:NAME")
    return match["plugin"], check_executor(match["name"])
