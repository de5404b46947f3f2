"""Unique file names for results, derived from the names of the payload files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LONGEST: Final = 255
"""Maximum length of a file name in bytes."""


class Names:
    """Gives each result its own file in `folder`, never outside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        """The last number appended to each name."""

    def place(self, file: Path | None, task: str) -> Path:
        """The file for a task's result, named after the payload file, or after the task's id.

        If the name is taken, a number is appended: `photo.jpg`, `photo-2.jpg`.
        """
        name = file.name if file is not None else ""
        if name in ("", ".", ".."):
            name = task
        unique = name
        while unique in self._taken:
            self._numbers[name] = self._numbers.get(name, 1) + 1
            unique = _numbered(name, self._numbers[name])
        self._taken.add(unique)
        return self.folder / unique


def _numbered(name: str, number: int) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - Path would interpret the name
    if len(os.fsencode(suffix)) > LONGEST // 2:
        stem, suffix = name, ""
    added = f"-{number}{suffix}"
    room = LONGEST - len(os.fsencode(added))
    return os.fsdecode(os.fsencode(stem)[:room]) + added
