"""Sets aside znodes that cannot be understood: they stay in the tree and block nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..words import book, paths
from ..words.errors import BadRecord
from ..words.model import Task
from .operations import Znode

log = logging.getLogger(__name__)

STRANGE_NAME: Final = "its name is not one that masterworker uses"

MOST: Final = 1_000
"""Maximum number of znodes per folder whose reasons are kept and logged; others are set aside
silently."""


class Quarantine:
    """The quarantined names of each folder, with reasons."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, str]] = {}
        self._said: dict[str, str] = {}

    def add(self, path: str, why: str) -> None:
        """Quarantine one znode, and log it unless the same was logged before."""
        folder, name = _split(path)
        names = self._folders.setdefault(folder, {})
        if name in names:
            return
        names[name] = why
        if self._said.get(path) == why:
            return
        if len(self._said) < MOST:
            self._said[path] = why
            log.warning("quarantined %.300r: %.300s", path, why)
        elif len(self._said) == MOST:
            self._said[""] = ""
            log.warning("further quarantined znodes are not logged: run `mwctl audit` to list them")

    def reconsider(self) -> None:
        """Read quarantined znodes again, in case they have been repaired.

        Only in folders with few of them, so that no large set is read over and over.
        """
        for folder, names in list(self._folders.items()):
            if len(names) <= MOST:
                del self._folders[folder]

    def forget(self, path: str) -> None:
        """Forget a znode that is gone or was recreated, so that its name gets another chance."""
        folder, name = _split(path)
        self._folders.get(folder, {}).pop(name, None)
        self._said.pop(path, None)

    def sift(self, folder: str, names: Iterable[str]) -> list[str]:
        """The names in a new listing of a folder that are not quarantined.

        A quarantined name that is gone is forgotten, so that a recreated znode gets another chance.
        """
        names = list(names)
        aside = self._folders.get(folder)
        if aside:
            for gone in aside.keys() - set(names):
                self.forget(f"{folder}/{gone}")
            names = [name for name in names if name not in aside]
        if paths.are_names(names):
            return names
        good = []
        for name in names:
            if paths.is_name(name):
                good.append(name)
            else:
                self.add(f"{folder}/{name}", STRANGE_NAME)
        return good


def task_at(path: str, znode: Znode) -> Task:
    """The task in a znode. Raises BadRecord, also if the znode could never be moved from there."""
    task = book.movable_task_in(path.rpartition("/")[2], znode.data)
    if znode.children:
        raise BadRecord(f"a task with {znode.children} children, but it must have none")
    return task


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
