"""Kills the processes that an attempt started and left behind.

A child process is a subreaper: every process that an attempt starts stays below it in the process
tree, even if it starts its own session (a daemon) or loses its parent. All of them can therefore be
found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from typing import Final

from .guardian import descendants

DEATH_SECONDS: Final = 1.0
"""Seconds to wait until killed processes are gone."""


class Leftovers:
    """The processes below this one, except those that existed when this object was created.

    A helper process that a plugin starts while it is loaded may stay for all attempts. Call
    `prctl.adopt_orphans` before anything is started.
    """

    def __init__(self) -> None:
        self._spared = descendants(os.getpid())

    def end(self) -> int:
        """Kill what was left; return the number of processes.

        If there were any, this process must not be used again: Python objects, such as
        multiprocessing's fork server, may still refer to them.
        """
        if not self._spared and not _has_children():
            return 0
        return kill_descendants(self._spared)


def kill_descendants(spared: Collection[int]) -> int:
    """Kill and reap the processes below this one, except `spared` and those below them.

    Returns the number of processes. Some may remain after DEATH_SECONDS.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + DEATH_SECONDS
    while left := descendants(os.getpid(), spared):
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):  # still dying, or the child of another dead one
                os.waitpid(pid, os.WNOHANG)
        killed |= left
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    return len(killed)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
