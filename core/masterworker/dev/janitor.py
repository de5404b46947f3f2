"""Remove a folder once its owner is gone: `janitor.py FOLDER`, with a pipe as standard input.

Only the owner has the other end of the pipe. The kernel closes it however the owner ends, and what
the owner started and what writes to the folder dies at the same moment (see lifeline.py). This file
imports nothing of ours: it runs as a bare script.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

PATIENCE = 10.0
"""Seconds for the last process that writes to the folder to die."""


def main(folder: str) -> None:
    """Wait for the end of the pipe, then remove `folder`."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with its owner, and never before
    os.read(0, 1)
    until = time.monotonic() + PATIENCE
    while os.path.lexists(folder) and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
