"""A minimal init for when `mwctl` is process 1 of a container.

The kernel reparents orphans to process 1, and delivers only those signals to it that it handles. So
process 1 only reaps orphans and forwards signals to the process that it forked, which does the
work, and exits with that process's exit code. A worker cannot be process 1 itself: reaping orphans
would also take the exit codes of its own child processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

_TOLD_ABOUT_TERMINAL: Final = frozenset({signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP})
_SIGNALLED: Final = 128  # exit codes above this are 128 + signal number, as in shells


def become_init() -> None:
    """Fork and return in the child; the parent becomes its init and never returns.

    Call this before starting any thread.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    main = os.fork()
    if main == 0:
        # In its own process group, the child gets Ctrl-C only once, from its init or the terminal.
        os.setpgid(0, 0)
        with contextlib.suppress(OSError):  # there is no terminal
            os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_serve(main))


def _serve(main: int) -> int:
    """Reap children and forward signals until process `main` exits; return its exit code."""
    while True:
        arrived = signal.sigwaitinfo(signal.valid_signals()).si_signo
        if arrived == signal.SIGCHLD:
            code = _reap(main)
            if code is not None:
                return code
        elif arrived not in _TOLD_ABOUT_TERMINAL:
            os.kill(main, arrived)


def _reap(main: int) -> int | None:
    """Reap all exited children; return the exit code of process `main` if it was one of them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == main:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else _SIGNALLED - ended
    return code
