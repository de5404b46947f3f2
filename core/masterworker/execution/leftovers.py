"""Processes that an attempt started and left behind: they end with it.

A child process is a subreaper: whatever an attempt starts stays below it in the tree of processes,
also what became a session of its own (a daemon) or lost its parent. So all of it can be found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from . import prctl
from .guardian import descendants

DEATH_SECONDS: Final = 1.0
"""How long killed processes may take to be gone."""


class Leftovers:
    """What runs below this process, except what ran there when this was made.

    A helper that a plugin starts while it is loaded may stay for all attempts.
    """

    def __init__(self) -> None:
        prctl.adopt_orphans()
        self._spared = descendants(os.getpid())

    def end(self) -> tuple[int, bool]:
        """Kill what was left; return how many processes that was, and whether all are gone."""
        if not self._spared and not _has_children():
            return 0, True
        killed: set[int] = set()
        deadline = time.monotonic() + DEATH_SECONDS
        while left := descendants(os.getpid(), self._spared):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(OSError):  # not dead yet, or a child of another that died
                    os.waitpid(pid, os.WNOHANG)
            killed |= left
            if time.monotonic() > deadline:
                return len(killed), False
            time.sleep(0.001)
        return len(killed), True


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
