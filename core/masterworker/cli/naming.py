"""Names for the results in a folder: those of the payloads' files, each of them once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LONGEST: Final = 255
"""Bytes of a file's name."""


class Names:
    """Gives each result a file of its own in `folder`, and none outside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        """The last number that was added to a name."""

    def place(self, file: Path | None, task: str) -> Path:
        """The file for the result of a task: named as the payload's file, or else by the task's id.

        If the name is taken, a number is added: `photo.jpg`, `photo-2.jpg`.
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
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name alone, which Path would judge
    if len(os.fsencode(suffix)) > LONGEST // 2:
        stem, suffix = name, ""
    added = f"-{number}{suffix}"
    room = LONGEST - len(os.fsencode(added))
    return os.fsdecode(os.fsencode(stem)[:room]) + added
