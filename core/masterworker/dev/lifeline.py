"""Run a command that cannot outlive whoever started it: `lifeline.py COMMAND ARGUMENT...`.

Standard input must be a socket whose other end only the starter has. A forked watcher blocks on it
and kills the command once that end is closed, which the kernel sees to however the starter dies.
One byte is sent to the starter when the watcher is in place. The command itself then replaces this
process, so its pid and exit code are the starter's to use.

Linux's PR_SET_PDEATHSIG is not used: it fires when the *thread* that started the command ends.
This file imports nothing of ours; it runs as a bare script, before each command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main(argv: list[str]) -> None:
    """Leave a watcher behind and become the command `argv`."""
    command = os.getpid()
    if os.fork() == 0:
        _watch(command)
    os.write(0, b".")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    os.execvp(argv[0], argv)  # noqa: S606


def _watch(command: int) -> None:
    os.setsid()  # out of the reach of signals meant for the command's group
    with contextlib.suppress(ConnectionResetError):  # a starter that died before it read our byte
        os.read(0, 1)  # nothing is ever sent: it returns at the end
    if os.getppid() == command:  # else it ended by itself, and its pid may be another's by now
        os.kill(command, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
