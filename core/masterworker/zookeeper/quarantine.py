"""Znodes that cannot be understood: left where they are, remembered, and in nobody's way."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..words import paths

log = logging.getLogger(__name__)

MOST: Final = 1_000
"""Names remembered in one folder; more are skipped all the same, and complained of again."""


class Quarantine:
    """The names set aside in each folder, with the reasons."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, str]] = {}

    def add(self, path: str, why: str) -> None:
        """Set one znode aside and say so, once."""
        folder, name = _split(path)
        names = self._folders.setdefault(folder, {})
        if name not in names:
            log.warning("quarantined %.300r: %.300s", path, why)
            if len(names) < MOST:
                names[name] = why

    def sift(self, folder: str, names: Iterable[str]) -> list[str]:
        """The names in a fresh listing of a folder that are to be dealt with.

        What was set aside and is gone is forgotten, so that a znode made anew gets a new chance.
        """
        aside = self._folders.get(folder)
        if aside:
            names = list(names)
            gone = aside.keys() - set(names)
            for name in gone:
                del aside[name]
            names = [name for name in names if name not in aside]
        good = []
        for name in names:
            if paths.is_name(name):
                good.append(name)
            else:
                self.add(f"{folder}/{name}", "its name is none of ours")
        return good


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
