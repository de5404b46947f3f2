"""What a process of ours asks of Linux for itself, by prctl(2)."""

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
    """Be killed when the thread that started this process is gone."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, as init is for all others."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def gain_no_privileges() -> None:
    """Let no set-user-ID program and no file capability take effect from here on, for good.

    Whatever this process starts inherits it.
    """
    _prctl(_SET_NO_NEW_PRIVS, 1)


def hide() -> None:
    """Keep this process's memory and first environment from others of the same user.

    No core file is written, and /proc/PID/mem, /proc/PID/environ and ptrace(2) are for root alone.
    It ends when another program is executed.
    """
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")
