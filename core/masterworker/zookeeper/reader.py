"""Bulk reads of whole parts of the tree, for commands that inspect it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeVar

from ..words import book, paths
from ..words.errors import BadRecord, NotAuthorized
from ..words.model import Worker
from .operations import Found, Unreadable, Znode
from .quarantine import STRANGE_NAME
from .session import Session

T = TypeVar("T")

LISTINGS: Final = 64
"""Maximum number of listings under way."""


class Reader:
    """Reads through a started session, and never writes.

    `quarantined` maps the path of each znode that could not be read or understood to the reason.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.quarantined: dict[str, str] = {}

    def names(self, path: str) -> list[str]:
        """The names of a znode's children; empty if there is no such znode."""
        return self._sound(path, self.session.children(path).wait() or [])

    def names_each(self, folders: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """The names of many znodes' children, with several requests under way at a time."""
        for start in range(0, len(folders), LISTINGS):
            part = folders[start : start + LISTINGS]
            replies = [self.session.children(path) for path in part]
            for path, reply in zip(part, replies, strict=True):
                try:
                    yield path, self._sound(path, reply.wait() or [])
                except NotAuthorized as error:
                    self.quarantined[path] = str(error)
                    yield path, []

    def assigned(self) -> dict[str, list[str]]:
        """The tasks assigned to each worker that has an assignment folder."""
        folders = [paths.assignments(name) for name in self.names(paths.ASSIGN)]
        return {last(path): names for path, names in self.names_each(folders)}

    def workers(self) -> dict[str, Worker]:
        """The registered workers."""
        names = [paths.worker(name) for name in self.names(paths.WORKERS)]
        return self.decoded(names, book.worker_in)

    def entries(self, clients: Collection[str] = ()) -> dict[str, Znode]:
        """The children of /status: clients' folders, and plain statuses of the book's clients.

        With `clients`, only their folders.
        """
        names = [
            f"{paths.STATUS}/{name}"
            for name in self.names(paths.STATUS)
            if not clients or name in clients
        ]
        entries = {}
        for path, found in self.session.read_each(names):
            if isinstance(found, Znode):
                entries[last(path)] = found
            elif isinstance(found, Unreadable):
                self.quarantined[path] = str(found)
        return entries

    def finished(self, clients: Collection[str] = ()) -> frozenset[str]:
        """The tasks that have a status; with `clients`, only theirs."""
        finished = set()
        folders = []
        for name, entry in self.entries(clients).items():
            if not paths.is_client(name):
                finished.add(name)
            elif entry.children:
                folders.append(paths.statuses(name))
        for path, names in self.names_each(folders):
            for name in names:
                if paths.is_client(last(path)) and paths.is_number(name):
                    finished.add(f"{last(path)}-{name}")
                else:
                    self.quarantined[f"{path}/{name}"] = STRANGE_NAME
        return frozenset(finished)

    def decoded(self, names: Sequence[str], understand: Callable[[bytes], T]) -> dict[str, T]:
        """The decoded record of each znode, by name."""
        decoded = {}
        for path, found in self.session.read_each(names):
            if isinstance(found, Znode):
                try:
                    decoded[last(path)] = understand(found.data)
                except BadRecord as error:
                    self.quarantined[path] = str(error)
            elif isinstance(found, Unreadable):
                self.quarantined[path] = str(found)
        return decoded

    def _sound(self, path: str, names: list[str]) -> list[str]:
        """The valid names; the others are quarantined."""
        for name in names:
            if not paths.is_name(name):
                self.quarantined[f"{path}/{name}"] = STRANGE_NAME
        return [name for name in names if paths.is_name(name)]


def last(path: str) -> str:
    """The last component of a path."""
    return path.rpartition("/")[2]


def decode(found: Found, understand: Callable[[bytes], T]) -> T | None:
    """The decoded record of a znode; None if it is missing or cannot be understood."""
    if not isinstance(found, Znode):
        return None
    try:
        return understand(found.data)
    except BadRecord:
        return None
