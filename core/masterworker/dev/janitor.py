"""Remove a folder after its owner exits: `janitor.py FOLDER`, with a pipe as standard input.

Only the owner has the other end of the pipe, which the kernel closes when the owner exits for any
reason. The owner's child processes, which write to the folder, die at the same moment (see
lifeline.py). This file runs as a standalone script and must not import other modules of the
project.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

PATIENCE = 10.0
"""Seconds to wait for the last process that writes to the folder to die."""


def main(folder: str) -> None:
    """Wait for the end of the pipe, then remove `folder`."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # exit only after the owner
    os.read(0, 1)
    until = time.monotonic() + PATIENCE
    while os.path.lexists(folder) and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
