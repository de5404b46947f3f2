"""Writes log lines in a separate thread, so that a slow log reader never blocks a role.

If a pipe or disk is full, log lines are dropped and counted, but nothing else is affected.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from typing import Final

MOST_WAITING: Final = 10_000
"""Maximum number of queued lines. Further lines are dropped."""

FLUSH_SECONDS: Final = 1.0
"""Maximum time that the process waits for queued lines at exit."""

_TOGETHER: Final = 100  # lines in one write


class LogWriter(logging.Handler):
    """Writes formatted records to a file descriptor. `emit` never blocks."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._changed = threading.Condition()
        # Everything below is guarded by the condition.
        self._waiting: deque[str] = deque()
        self._writing = 0
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record for the writer thread. The first record starts the thread."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as in every logging handler
            self.handleError(record)
            return
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait a bounded time until the queue is empty. `logging` calls this at exit."""
        deadline = time.monotonic() + FLUSH_SECONDS
        with self._changed:
            while self._waiting or self._writing:
                if not self._changed.wait(deadline - time.monotonic()):
                    return

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._writing = 0
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), _TOGETHER))]
                self._writing = len(lines)
                if self._dropped:
                    lines.append(self._line_about_the_dropped())
                    self._dropped = 0
            try:
                self._write("".join(lines).encode(errors="backslashreplace"))
            except OSError:  # closed, or the disk is full; later lines may succeed
                with self._changed:
                    self._dropped += len(lines)

    def _line_about_the_dropped(self) -> str:
        text = (
            "%d log lines were dropped because stderr could not be written or was read too slowly"
        )
        record = logging.LogRecord(
            __name__, logging.WARNING, __file__, 0, text, (self._dropped,), None
        )
        return self.format(record) + "\n"

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process has made it non-blocking
                select.select([], [self._descriptor], [])
