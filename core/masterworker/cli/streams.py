"""The standard streams, also when they are closed, full or unread.

The next file or socket that a process opens gets the number of a closed descriptor 0, 1 or 2:
results could be written into the connection to ZooKeeper. So the numbers are kept occupied, in a
way that makes every read or write fail as on a closed descriptor. `sys.stdout` is never None, since
lost data must be an error. Messages that stderr does not take are dropped.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, Final

_CLOSED: Final = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}
"""For each standard descriptor, how /dev/null is opened so that its use fails."""


class _Stdout(io.FileIO):
    """Descriptor 1. It waits for a slow reader, and remembers why it refused what was written."""

    refused = ""

    def __init__(self) -> None:
        super().__init__(1, "w", closefd=False)

    def write(self, data: Any) -> int:
        while True:
            try:
                written = super().write(data)
            except OSError as error:
                self.refused = error.strerror or str(error)
                raise
            if written is not None:
                return written
            select.select([], [self], [])  # another process has made it non-blocking


def hold() -> None:
    """Keep the numbers of closed standard streams taken, and give Python streams that fail."""
    for descriptor, mode in _CLOSED.items():
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest free number is this one
            os.set_inheritable(opened, True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        encoding = "utf-8" if sys.stdout is None else sys.stdout.encoding
        lines = sys.stdout is not None and sys.stdout.isatty()
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Stdout()), encoding, line_buffering=lines)
    if sys.stderr is None:
        raw = io.FileIO(2, "w", closefd=False)
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every letter


def refused() -> str:
    """Why stdout did not take what was written to it; empty if it did."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.refused if isinstance(raw, _Stdout) else ""


def let_go(*, interrupted: bool = False) -> None:
    """Drop what the streams did not take, before the process ends.

    Python would flush it once more, and would block, or exit with a code of its own. An interrupted
    command drops its whole buffer, since the reader of stdout may be what it was waiting for.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if interrupted and stream is sys.stdout:
                raise BlockingIOError
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
