"""Writes the output and logs of a child process to the worker's log, limited for each attempt.

The child marks each line that it logs with the record's level (`LevelFormatter`), so that a warning
is a warning in the worker's log too; printed lines have the level INFO. Output beyond the limits is
still read and counted, so that the child never blocks.
"""

from __future__ import annotations

import array
import fcntl
import logging
import os
import re
import select
import termios
import threading
import time
from typing import IO, Final

from ..words import limits

logger = logging.getLogger(__name__)

MOST_LINES: Final = 1_000
"""Maximum number of lines of one attempt's output in the log."""

MOST_BYTES: Final = 256 * 1024
"""Maximum bytes of one attempt's output in the log."""

MOST_OF_LINE: Final = 1_000
"""Maximum bytes of one line in the log."""

_CHUNK: Final = 65_536  # bytes; also the capacity of a pipe
_READ_SECONDS: Final = 1.0  # from an attempt's answer until all of its output is read
_CLOSE_SECONDS: Final = 5.0

_MARK: Final = "\x1e"
_MARKED: Final = re.compile(rb"\x1e([1-5]0) ")


class LevelFormatter(logging.Formatter):
    """Formats a child's log records so that `ChildOutput` finds their level."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        return "\n".join(f"{_MARK}{level} {line}" for line in super().format(record).split("\n"))


class ChildOutput:
    """Reads a child's output, in a thread of its own.

    Each line is logged unless `quiet`, and the end is kept as evidence. `pidfd` reports the child's
    death, because the pipe may never end.
    """

    def __init__(self, stream: IO[bytes] | None, pidfd: int, *, quiet: bool) -> None:
        if stream is None:
            raise TypeError("the child's output is not a pipe")
        self._stream = stream
        self._pidfd = pidfd
        self._quiet = quiet
        self._lock = threading.Lock()
        # Everything below is guarded by the lock, and so is reading from the stream.
        self._subject = "starting"
        self._tail = b""
        self._partial = b""
        self._lines = self._bytes = 0
        self._dropped_lines = self._dropped_bytes = 0
        os.set_blocking(stream.fileno(), False)
        self._thread = threading.Thread(target=self._read, name="child-output", daemon=True)
        self._thread.start()

    def begin(self, subject: str) -> None:
        """Attribute all further output to `subject`, with a limit of its own."""
        with self._lock:
            self._subject = subject
            self._tail = b""
            self._lines = self._bytes = 0

    def end(self) -> None:
        """Read the rest of the attempt's output, and log how much of it was not logged."""
        deadline = time.monotonic() + _READ_SECONDS
        while True:
            with self._lock:
                if not self._is_waiting() or time.monotonic() > deadline:
                    self._finish()
                    return
            time.sleep(0.001)

    def tail(self) -> str:
        """The end of the last subject's output."""
        with self._lock:
            return _MARKED.sub(b"", self._tail).decode(errors="replace").strip()

    def close(self) -> None:
        """Read what is left; the child must be dead."""
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._stream.close()

    # --- with the lock held ---

    def _is_waiting(self) -> bool:
        """Whether there is output to read."""
        if self._stream.closed:
            return False
        count = array.array("i", [0])
        fcntl.ioctl(self._stream.fileno(), termios.FIONREAD, count)
        return count[0] > 0

    def _take(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-limits.MAX_DETAIL :]
        *lines, partial = (self._partial + chunk).split(b"\n")
        self._partial = partial[: MOST_OF_LINE + 1]  # one more shows that the line was truncated
        for line in lines:
            self._log(line)

    def _log(self, line: bytes) -> None:
        if self._quiet:
            return
        if self._lines >= MOST_LINES or self._bytes >= MOST_BYTES:
            self._dropped_lines += 1
            self._dropped_bytes += len(line) + 1
            return
        self._lines += 1
        self._bytes += min(len(line), MOST_OF_LINE) + 1
        level = logging.INFO
        if marked := _MARKED.match(line):
            level, line = int(marked[1]), line[marked.end() :]
        text = line[:MOST_OF_LINE].decode(errors="replace").rstrip()
        logger.log(level, "%s: %s%s", self._subject, text, "…" if len(line) > MOST_OF_LINE else "")

    def _finish(self) -> None:
        if self._partial:
            self._log(self._partial)
            self._partial = b""
        if self._dropped_lines:
            logger.warning(
                "%s: %d more lines with %d bytes of output are not logged; the limit is %d lines "
                "and %d bytes",
                self._subject,
                self._dropped_lines,
                self._dropped_bytes,
                MOST_LINES,
                MOST_BYTES,
            )
            self._dropped_lines = self._dropped_bytes = 0

    # --- the thread ---

    def _read(self) -> None:
        descriptor = self._stream.fileno()
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        while True:
            # A pipe holds at most one chunk, so one read after the child's death gets everything.
            dead = self._pidfd in dict(poll.poll())
            with self._lock:
                try:
                    chunk = os.read(descriptor, _CHUNK)
                except BlockingIOError:
                    chunk = None
                if chunk:
                    self._take(chunk)
                if dead or chunk == b"":
                    self._finish()
                    return
