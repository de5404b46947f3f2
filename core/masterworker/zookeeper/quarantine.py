"""Znodes that cannot be understood: left where they are, remembered, and in nobody's way."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..words import book, paths
from ..words.errors import BadRecord
from ..words.model import Task
from .operations import Znode

log = logging.getLogger(__name__)

STRANGE_NAME: Final = "its name is none of ours"

MOST: Final = 1_000
"""Znodes of one folder whose reasons are kept and logged; the others are set aside in silence."""


class Quarantine:
    """The names set aside in each folder, with the reasons."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, str]] = {}
        self._said: dict[str, str] = {}

    def add(self, path: str, why: str) -> None:
        """Set one znode aside, and say so unless the same was said before."""
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
            log.warning("more znodes are quarantined than are logged: see `mwctl audit`")

    def reconsider(self) -> None:
        """Give what was set aside another chance: somebody may have repaired it.

        Only where it is not too much to be read over and over.
        """
        for folder, names in list(self._folders.items()):
            if len(names) <= MOST:
                del self._folders[folder]

    def forget(self, path: str) -> None:
        """This znode is gone, or was made anew: give the next of its name a chance."""
        folder, name = _split(path)
        self._folders.get(folder, {}).pop(name, None)
        self._said.pop(path, None)

    def sift(self, folder: str, names: Iterable[str]) -> list[str]:
        """The names in a fresh listing of a folder that are to be dealt with.

        What was set aside and is gone is forgotten, so that a znode made anew gets a new chance.
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
    """The task in a znode. Raises BadRecord, also for what could never be moved from there."""
    task = book.movable_task_in(path.rpartition("/")[2], znode.data)
    if znode.children:
        raise BadRecord(f"a task with {znode.children} children, where nothing belongs")
    return task


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
