"""Run a command that cannot outlive its parent: `lifeline.py COMMAND ARGUMENT...`.

Standard input must be a socket whose other end only the parent has. A forked watcher reads from it
and kills the command when the other end is closed. The kernel closes it when the parent dies for
any reason. When the watcher is running, one byte is sent to the parent. Then the command replaces
this process, so the parent has its pid and gets its exit code.

Linux's PR_SET_PDEATHSIG is not used, because it fires when the *thread* that started the command
ends. This file runs as a standalone script and must not import other modules of the project.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main(argv: list[str]) -> None:
    """Fork the watcher, and replace this process with the command `argv`."""
    command = os.getpid()
    if os.fork() == 0:
        _watch(command)
    os.write(0, b".")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would inherit that
    os.execvp(argv[0], argv)  # noqa: S606


def _watch(command: int) -> None:
    os.setsid()  # do not receive signals for the command's process group
    with contextlib.suppress(ConnectionResetError):  # the parent died before it read our byte
        os.read(0, 1)  # nothing is ever sent, so this returns when the parent dies
    if os.getppid() == command:  # otherwise the command has exited, and its pid may be reused
        os.kill(command, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
