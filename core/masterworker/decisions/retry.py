"""How long a task rests between a failed attempt and the next.

The pause doubles with each failure and is spread by chance, so that tasks which failed together,
because something they all need is down, do not come back together. It is half fixed and half
random: "equal jitter" of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog
(2015). The chance is drawn from the task's id, so the same task always rests equally long.

A lost worker brings no pause: the loss was noticed only after the session's timeout, which is long
enough, and the task has done nothing wrong so far.
"""

from __future__ import annotations

import zlib
from typing import Final

from ..words.model import Reason, Task

FIRST: Final = 0.5
"""Seconds of the longest pause after the first failure."""

LONGEST: Final = 30.0
"""Seconds of the longest pause after many failures."""


def pause(task: Task) -> float:
    """Seconds between the end of the task's last attempt and the next; 0 unless that failed."""
    if not task.history or task.history[-1].reason is Reason.LOST:
        return 0.0
    most = min(LONGEST, FIRST * 2.0 ** (task.failures - 1))
    chance = zlib.crc32(f"{task.id} {task.failures}".encode()) / 2**32
    return most * (1.0 + chance) / 2.0


def rest(task: Task, now: float) -> float:
    """Seconds of its pause that a pending task still has to wait at `now`, by the Unix epoch.

    When the attempt ended was said by another machine's clock. A clock that is wrong shortens the
    pause; it never makes it longer.
    """
    whole = pause(task)
    if not whole:
        return 0.0
    ended = task.history[-1].ended
    since = 0.0 if ended is None else now - ended
    return whole - min(max(since, 0.0), whole)
