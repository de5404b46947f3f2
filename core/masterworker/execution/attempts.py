"""What both runners of attempts share: what goes in, what comes out, and how an executor is called.

A runner takes jobs and delivers outcomes. `InlineRunner` runs trivial executors inside the worker,
`ProcessRunner` all others in child processes; the worker sees only the `Runner` below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ..words import evidence, limits
from ..words.errors import AttemptFailed, PayloadTooLarge
from ..words.executor import Executor, TaskContext
from ..words.model import Reason, Task


class Job(NamedTuple):
    """A task to attempt: the executor is the one that `task.executor` names."""

    task: Task
    payload: bytes
    context: TaskContext


class Outcome(NamedTuple):
    """How an attempt ended. `reason` is None if it has a result.

    `started` and `ended` are seconds since the epoch. `interrupted` says that the attempt was ended
    from outside and not by its own doing: the worker may run the task again. `unopened` says that
    its sealed payload could not be opened, so that nothing of it is in `detail`. `unstarted` says
    why this worker cannot run the executor at present: the attempt has not begun and does not
    count.
    """

    task_id: str
    started: float
    ended: float
    result: bytes | None = None
    reason: Reason | None = None
    detail: str = ""
    interrupted: bool = False
    unopened: bool = False
    unstarted: str = ""


OnOutcome = Callable[[list[Outcome]], None]
"""Takes outcomes, from any thread. It must not block, nor call the runner. Called with none, it is
told that what `Runner.unable` returns has changed."""


class Runner(Protocol):
    """Runs jobs in a bounded number of places, and queues those that find none free.

    Every method may be called from any thread. Each job handed to `start` ends in exactly one
    outcome, unless it is stopped or withdrawn: then in none.
    """

    def start(self, jobs: Sequence[Job]) -> None:
        """Run these as soon as there is room; never blocks. A task already held is left as it is.

        Every job is for an executor the runner was given.
        """

    def stop(self, task_id: str) -> None:
        """This attempt must not go on; once this returns, no outcome is delivered for it."""

    def stop_all(self) -> None:
        """The same for every attempt; returns when their processes are dead, within bounds."""

    def withdraw(self) -> list[str]:
        """Drop the jobs that have not begun and return their task ids."""

    def held(self) -> set[str]:
        """The tasks given to this runner whose outcome is still to come."""

    def running(self) -> set[str]:
        """Those of them that have begun."""

    def unable(self) -> dict[str, str]:
        """The executors that it cannot run at present, each with the reason."""

    def close(self) -> None:
        """Stop everything and end every thread and process, within bounds. Nothing starts again."""


def execute(executor: Executor, payload: bytes, context: TaskContext) -> Outcome:
    """Call an executor and judge what it returns or raises. Never raises itself."""
    started = time.time()
    try:
        result = executor.run(payload, context)
    except BaseException as error:  # noqa: BLE001 - even SystemExit ends its attempt and no more
        reason = Reason.OUT_OF_MEMORY if isinstance(error, MemoryError) else Reason.FAILED
        detail = _evidence(error)
    else:
        if result is None:
            result = b""
        detail = _objection(executor.name, result)
        if not detail:
            return Outcome(context.task_id, started, time.time(), result)
        reason = Reason.FAILED
    return Outcome(context.task_id, started, time.time(), reason=reason, detail=detail)


def _objection(executor: str, result: object) -> str:
    """What is wrong with a result, or nothing."""
    if not isinstance(result, bytes):
        got = type(result).__name__
        return f"executor {executor!r} returned {got}, expected bytes (or None for an empty result)"
    try:
        limits.check_payload(result, f"the result of executor {executor!r}")
    except PayloadTooLarge as error:
        return str(error)
    return ""


def _evidence(error: BaseException) -> str:
    """What to tell of an executor's exception: its words, and its own part of the traceback.

    Left out are our frame and those of a caller in between that says so, as for pytest, by a local
    variable `__tracebackhide__`.
    """
    if isinstance(error, AttemptFailed):
        return evidence.bounded(str(error))
    top = error.__traceback__.tb_next if error.__traceback__ else None
    while top is not None and top.tb_frame.f_locals.get("__tracebackhide__") is True:
        top = top.tb_next
    return evidence.of_exception(error, top)
