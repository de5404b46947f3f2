"""Journals: lines of JSON that are on disk before their writer goes on."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """One file of JSON lines, to be written by any thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, *lines: Mapping[str, Any]) -> None:
        """Append these lines, with one fsync for all of them."""
        self.write_all(lines)

    def write_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """The same for lines that come in a collection; nothing is done for an empty one."""
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        if not data:
            return
        with self._lock:
            os.write(self._descriptor, data)  # appended whole: a local file takes all of it
            os.fsync(self._descriptor)
