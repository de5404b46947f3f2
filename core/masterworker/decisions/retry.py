"""The backoff between a failed attempt and the next.

The pause doubles with each failure and has jitter, so that tasks that failed together because of a
shared dependency do not all retry at once. Half of it is fixed and half is random: "equal jitter"
of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015). The jitter is
derived from the task's id and its number of failures, so it is reproducible.

There is no pause after a lost worker: the loss was detected only after the session timeout, which
is long enough, and the task itself has not failed.
"""

from __future__ import annotations

import zlib
from typing import Final

from ..words.model import Reason, Task

FIRST: Final = 0.5
"""Maximum pause after the first failure, in seconds."""

LONGEST: Final = 30.0
"""Maximum pause after any failure, in seconds."""


def pause(task: Task) -> float:
    """Seconds between the end of the last attempt and the next; 0 unless that attempt failed."""
    if not task.history or task.history[-1].reason is Reason.LOST:
        return 0.0
    most = min(LONGEST, FIRST * 2.0 ** (task.failures - 1))
    chance = zlib.crc32(f"{task.id} {task.failures}".encode()) / 2**32
    return most * (1.0 + chance) / 2.0


def rest(task: Task, now: float) -> float:
    """Seconds that a pending task still has to wait at `now`, in seconds since the epoch.

    The end of the attempt was recorded by another machine's clock. A wrong clock can shorten the
    pause, but never prolong it.
    """
    whole = pause(task)
    if not whole:
        return 0.0
    ended = task.history[-1].ended
    since = 0.0 if ended is None else now - ended
    return whole - min(max(since, 0.0), whole)
