"""The interface of both attempt runners: jobs, outcomes, and how an executor is called.

A runner takes jobs and delivers outcomes. `InlineRunner` runs trivial executors inside the worker,
`ProcessRunner` runs all others in child processes. The worker sees only the `Runner` protocol.
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
    """A task to attempt with the executor named by `task.executor`."""

    task: Task
    payload: bytes
    context: TaskContext


class Outcome(NamedTuple):
    """The outcome of an attempt. `reason` is None if it has a result.

    `started` and `ended` are seconds since the epoch. `interrupted` means that the attempt was
    ended from outside, through no fault of its own, so the worker may run the task again.
    `unopened` means that its sealed payload could not be opened, so `detail` has nothing of it.
    `unstarted` says why this worker cannot run the executor at present: the attempt was not started
    and does not count.
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
"""Receives outcomes, on any thread. It must not block or call the runner. A call without outcomes
reports that the value of `Runner.unable` has changed."""


class Runner(Protocol):
    """Runs jobs in a bounded number of slots, and queues those that find none free.

    Every method can be called from any thread. Each job given to `start` ends in exactly one
    outcome, unless it is stopped or withdrawn, in which case it has none.
    """

    def start(self, jobs: Sequence[Job]) -> None:
        """Run these jobs as soon as slots are free; never blocks. Tasks already held are skipped.

        Every job must be for an executor that the runner was given.
        """

    def stop(self, task_id: str) -> None:
        """Stop this attempt; after this returns, no outcome is delivered for it."""

    def stop_all(self) -> None:
        """Stop every attempt; return when their processes are dead, within a bounded time."""

    def withdraw(self) -> list[str]:
        """Drop the jobs that have not started, and return their task ids."""

    def held(self) -> set[str]:
        """The tasks of this runner that have no outcome yet."""

    def running(self) -> set[str]:
        """The held tasks whose attempt has started."""

    def unable(self) -> dict[str, str]:
        """The executors that are unavailable at present, each with the reason."""

    def close(self) -> None:
        """Stop everything and end all threads and processes, within a bounded time. Final."""


def execute(executor: Executor, payload: bytes, context: TaskContext) -> Outcome:
    """Call an executor and check what it returns or raises. Never raises."""
    started = time.time()
    try:
        result = executor.run(payload, context)
    except BaseException as error:  # noqa: BLE001 - even SystemExit ends only this attempt
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
    """The problem with a result; empty if there is none."""
    if not isinstance(result, bytes):
        got = type(result).__name__
        return f"executor {executor!r} returned {got}, expected bytes (or None for an empty result)"
    try:
        limits.check_payload(result, f"the result of executor {executor!r}")
    except PayloadTooLarge as error:
        return str(error)
    return ""


def _evidence(error: BaseException) -> str:
    """The evidence of an executor's exception: its message, and its own part of the traceback.

    Our own frame is left out, and so are frames of callers that set a local variable
    `__tracebackhide__`, as for pytest.
    """
    if isinstance(error, AttemptFailed):
        return evidence.bounded(str(error))
    top = error.__traceback__.tb_next if error.__traceback__ else None
    while top is not None and top.tb_frame.f_locals.get("__tracebackhide__") is True:
        top = top.tb_next
    return evidence.of_exception(error, top)
