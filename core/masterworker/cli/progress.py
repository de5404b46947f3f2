"""A progress line on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Final

INTERVAL: Final = 0.1
"""Minimum seconds between two updates of the line."""

CLEAR: Final = "\r\x1b[K"


class Progress:
    """A progress line on stderr, if `shown` and stderr is a terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._next = 0.0
        self._there = False

    def show(self, text: str) -> None:
        """Replace the line, unless it was updated a moment ago."""
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._there = True
            self._write(CLEAR + text)

    def clear(self) -> None:
        """Remove the line, so that other output can follow."""
        if self._there:
            self._there = False
            self._write(CLEAR)

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
