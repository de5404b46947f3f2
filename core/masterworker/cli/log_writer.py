"""Writes log lines in a thread of its own, so that no role waits for whoever reads its log.

A pipe that is full or a disk that is full costs log lines, which are counted, and nothing else.
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
"""Lines that wait to be written. Those that come when there are as many are dropped."""

FLUSH_SECONDS: Final = 1.0
"""How long the end of the process waits for the lines that are left."""

_TOGETHER: Final = 100  # lines in one write


class LogWriter(logging.Handler):
    """Writes formatted records to a file descriptor. `emit` never waits for it."""

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
        """Hand a record over to the thread, which the first one starts."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler does
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
        """Wait until everything is written, for a bounded time. `logging` calls it at the end."""
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
            except OSError:  # closed, or a full disk: there may be room for the next ones
                with self._changed:
                    self._dropped += len(lines)

    def _line_about_the_dropped(self) -> str:
        text = "%d log lines were dropped: they could not be written, or were not read in time"
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
