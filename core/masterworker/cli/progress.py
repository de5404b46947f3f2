"""One line on a terminal that says how far a command is."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Final

INTERVAL: Final = 0.1
"""Seconds between two changes of the line."""

CLEAR: Final = "\r\x1b[K"


class Progress:
    """The last line of stderr, if that is a terminal and `shown`; else nothing."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._next = 0.0
        self._there = False

    def show(self, text: str) -> None:
        """Show a text in place of the one before, unless that was a moment ago."""
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            self._there = True
            self._write(CLEAR + text)

    def clear(self) -> None:
        """Remove the text, so that something else can be said there."""
        if self._there:
            self._there = False
            self._write(CLEAR)

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
