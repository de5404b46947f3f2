"""Standard streams that may be closed, full or not read.

If descriptor 0, 1 or 2 is closed, the next file or socket gets its number, and results could be
written to the connection with ZooKeeper. So closed numbers are kept occupied, and every read or
write on them fails as on a closed descriptor. `sys.stdout` is never None, because losing data must
be an error. Messages that cannot be written to stderr are dropped.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, Final

_CLOSED: Final = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_RDONLY}
"""For each standard descriptor, the mode in which /dev/null is opened so that its use fails."""


class _Stdout(io.FileIO):
    """Descriptor 1. Waits for a slow reader, and records why a write failed."""

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
    """Occupy the numbers of closed standard streams, and give Python streams that fail."""
    for descriptor, mode in _CLOSED.items():
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)  # gets this number: it is the lowest free one
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
            stream.reconfigure(errors="backslashreplace")  # the encoding may lack some characters


def refused() -> str:
    """Why writing to stdout failed; empty if it did not."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.refused if isinstance(raw, _Stdout) else ""


def let_go(*, interrupted: bool = False) -> None:
    """Drop output that cannot be written, before the process exits.

    Otherwise Python would flush the streams again, and block or exit with its own exit code. An
    interrupted command drops all buffered output, because stdout itself may have been blocking.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if interrupted and stream is sys.stdout:
                raise BlockingIOError
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
