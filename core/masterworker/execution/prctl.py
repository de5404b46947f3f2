"""Settings that a process makes for itself with prctl(2)."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_SET_PDEATHSIG: Final = 1  # these four: linux/prctl.h
_SET_DUMPABLE: Final = 4
_SET_CHILD_SUBREAPER: Final = 36
_SET_NO_NEW_PRIVS: Final = 38


def die_with_parent() -> None:
    """Kill this process when the thread that started it is gone."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of every orphaned descendant, as init is for all others."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def gain_no_privileges() -> None:
    """Permanently disable set-user-ID programs and file capabilities.

    Processes started from this one inherit that.
    """
    _prctl(_SET_NO_NEW_PRIVS, 1)


def hide() -> None:
    """Protect this process's memory and initial environment from others of the same user.

    No core file is written, and only root can use /proc/PID/mem, /proc/PID/environ and ptrace(2).
    The protection ends when another program is executed.
    """
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")
