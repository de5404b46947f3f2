"""`mwctl` as process 1 of a container: an init of its own.

The kernel gives process 1 every orphan to reap, and delivers no signal to it that it has no handler
for. So process 1 does only that: it reaps, passes signals on, and ends with the exit code of the
process it forked, which does the work as it would anywhere else. The worker itself could not reap
orphans without taking the exit codes of its own child processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

_TOLD_ABOUT_TERMINAL: Final = frozenset({signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP})
_SIGNALLED: Final = 128  # an exit code from here on names a signal, as shells count


def become_init() -> None:
    """Fork, and return in the new process alone; the caller stays behind as its init.

    To be called before any thread is started.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    main = os.fork()
    if main == 0:
        # A group of its own: Ctrl-C reaches it once, by way of its init or of the terminal.
        os.setpgid(0, 0)
        with contextlib.suppress(OSError):  # there is no terminal
            os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_serve(main))


def _serve(main: int) -> int:
    """Reap and pass signals on until process `main` has ended; return its exit code."""
    while True:
        arrived = signal.sigwaitinfo(signal.valid_signals()).si_signo
        if arrived == signal.SIGCHLD:
            code = _reap(main)
            if code is not None:
                return code
        elif arrived not in _TOLD_ABOUT_TERMINAL:
            os.kill(main, arrived)


def _reap(main: int) -> int | None:
    """Reap all that has ended; the exit code of process `main` if it was among that."""
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
