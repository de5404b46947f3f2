"""One log line for each attempt that ended without a result, on the worker and on the primary.

Both log it as `log.warning("%s", line, extra=line.extra)`: text for people, and fields for JSON
logs. The attempt's evidence is left out, since it may be sealed or quote the payload; `mwctl tasks
show` displays it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..words.limits import MAX_LOSSES
from ..words.model import Reason
from .life import Event, Move

_WHAT_HAPPENED = {
    Reason.FAILED: "failed",
    Reason.CRASHED: "crashed",
    Reason.TIMED_OUT: "timed out",
    Reason.OUT_OF_MEMORY: "ran out of memory",
    Reason.LOST: "was lost",
    Reason.EXPIRED: "expired",
}
_WHAT_FOLLOWS = {
    Event.RETRY: "it will be retried",
    Event.RECOVER: "it is back in the queue",
    Event.MOVE: "it moves to worker {to_worker}",
}


class FailedAttempt(NamedTuple):
    """An attempt that ended without a result, and what happens to its task next.

    `attempt` of `attempts` counts the task's own failures against the number allowed. If the reason
    is `lost`, it instead counts the workers lost while running the task, against the number after
    which the task is given up. `seconds` is how long the attempt ran, None if unknown. `final` is
    true if the task has failed for good. `why` is the line of the evidence that names the problem;
    it is empty for a sealed task.
    """

    task: str
    executor: str
    worker: str
    attempt: int
    attempts: int
    reason: Reason
    seconds: float | None
    final: bool
    follows: str
    why: str = ""

    def __str__(self) -> str:
        ran = "" if self.seconds is None else f" after {self.seconds:.3f} s"
        return (
            f"task {self.task}: attempt {self.attempt} of {self.attempts} of executor "
            f"{self.executor} {_WHAT_HAPPENED[self.reason]}{ran} on worker {self.worker}; "
            f"{self.follows}" + (f": {self.why}" if self.why else "")
        )

    @property
    def extra(self) -> Mapping[str, Mapping[str, object]]:
        """The same as fields of a log record; `cli/logs.py` adds them to each line of JSON."""
        return {
            "fields": {
                "task": self.task,
                "executor": self.executor,
                "worker": self.worker,
                "attempt": self.attempt,
                "attempts": self.attempts,
                "reason": self.reason.value,
                "seconds": None if self.seconds is None else round(self.seconds, 3),
                "final": self.final,
                **({"why": self.why} if self.why else {}),
            }
        }


def failed_attempt(move: Move, default_attempts: int = 1) -> FailedAttempt:
    """The failed attempt that a move records: the last in its task's history.

    `default_attempts` is the executor's number of attempts, for tasks that set none.
    """
    task, last = move.task, move.task.history[-1]
    lost = last.reason is Reason.LOST
    seconds = None
    if last.started is not None and last.ended is not None:
        seconds = max(0.0, last.ended - last.started)
    return FailedAttempt(
        task=task.id,
        executor=task.executor,
        worker=last.worker,
        attempt=task.losses if lost else task.failures,
        attempts=MAX_LOSSES if lost else task.attempts or default_attempts,
        reason=last.reason,
        seconds=seconds,
        final=move.status is not None,
        follows=_follows(move),
    )


def _follows(move: Move) -> str:
    if move.status is not None:
        return "the task has failed for good"
    return _WHAT_FOLLOWS[move.event].format(to_worker=move.to_worker)
