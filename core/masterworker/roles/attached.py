"""Futures of tasks that other clients submitted; their statuses are read, never deleted.

A status belongs to the client that submitted the task, whose ledger counts it. That client deletes
it, or the master does when its time to live ends. Nothing is therefore written here.

Each client's folder has one child watch. When it fires, the folder is listed and its statuses are
read in bulk. A status that was taken before it could be read shows in the folder's ledger, which
then counts more than before; only then are the waiting tasks searched for. The search takes one
request at a time and at most a tenth of the time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from ..words import paths, records
from ..words.errors import BadRecord, MasterworkerError, NotAuthorized, NotFound
from ..zookeeper.operations import Found, Unreadable, Znode
from ..zookeeper.session import Session
from ..zookeeper.watched import Listing
from ..zookeeper.whereabouts import Search
from .future import AttachedFuture

LISTED_TOGETHER: Final = 32
"""Maximum number of folders listed in one step."""

READ_TOGETHER: Final = 1_000
"""Maximum number of statuses read from one folder in one step."""

PAUSE_SHARE: Final = 9.0
"""The length of the pause after a search, as a multiple of the search."""

Mark = tuple[int, int] | None

_NEVER: Final = (-1, 0)
"""The mark of a folder that was never listed."""


class _Folder:
    """The statuses of another client, and the futures that wait for them."""

    def __init__(self, client: str, session: Session) -> None:
        self.path = paths.statuses(client)
        self.listing = Listing(session, self.path)
        self.waiting: dict[int, AttachedFuture] = {}
        self.mark: Mark = _NEVER
        """The folder, and how many of its statuses were gone, before the last search started."""
        self.doubtful = False
        """Whether tasks may have ended whose status can no longer be read."""


class Attachments:
    """All attached futures of one client. Except for `add`, only the client's thread uses them."""

    def __init__(self) -> None:
        self._new: deque[AttachedFuture] = deque()
        self._folders: dict[str, _Folder] = {}
        self._session: Session | None = None
        self._search: Search | None = None
        self._sought: deque[str] = deque()
        self._search_began = 0.0
        self._next_search = 0.0

    def add(self, futures: Iterable[AttachedFuture]) -> None:
        """Add futures. Can be called from any thread."""
        self._new.extend(futures)

    def use(self, session: Session) -> None:
        """Continue with this session."""
        self._session = session
        self._search = None
        for folder in self._folders.values():
            folder.listing = Listing(session, folder.path)

    def mistrust(self) -> None:
        """List every folder again, because watches may have been missed."""
        for folder in self._folders.values():
            folder.listing.stale = True

    def next_step(self) -> float:
        """The monotonic second at which work is due; infinite if only a watch can cause any."""
        if self._new or self._sought or any(one.listing.stale for one in self._folders.values()):
            return 0.0
        doubtful = any(one.doubtful for one in self._folders.values())
        return self._next_search if doubtful else float("inf")

    def step(self) -> None:
        """Do a bounded part of the pending work. Raises what Reply.wait raises."""
        session = self._session
        if session is None:
            return
        while self._new:
            self._take_in(self._new[0], session)
            self._new.popleft()  # only now, so that `end` never misses it
        stale = (folder for folder in self._folders.values() if folder.listing.stale)
        self._look(list(islice(stale, LISTED_TOGETHER)), session)
        self._seek(session)
        for client in [name for name, folder in self._folders.items() if not folder.waiting]:
            del self._folders[client]

    def end(self, failure: MasterworkerError) -> None:
        """End all waiting futures, in this order: `step` may be moving them at the same time."""
        for future in list(self._new):
            future.fail(failure)
        for folder in list(self._folders.values()):
            for future in list(folder.waiting.values()):
                future.fail(failure)

    def _take_in(self, future: AttachedFuture, session: Session) -> None:
        client, number = paths.split_task(future.task_id)
        folder = self._folders.get(client)
        if folder is None:
            folder = self._folders[client] = _Folder(client, session)
        before = folder.waiting.get(number)
        if before is not None:
            future.follow(before)
            return
        folder.waiting[number] = future
        folder.listing.stale, folder.mark = True, _NEVER

    # --- reading statuses --------------------------------------------------------------------

    def _look(self, folders: list[_Folder], session: Session) -> None:
        """List these folders, hand over their statuses, and check whether any vanished.

        The ledgers are read after the listings, whose watches report all later changes.
        """
        for folder in folders:
            folder.listing.ask()
        for folder in folders:
            try:
                names = folder.listing.read() or []
            except NotAuthorized:
                self._give_up(folder)
            else:
                self._collect(folder, names, session)
        folders = [folder for folder in folders if folder.waiting]
        if folders:
            found = session.read([folder.path for folder in folders])
            for folder, znode in zip(folders, found, strict=True):
                mark = _mark(znode)
                if mark != folder.mark:
                    folder.mark, folder.doubtful = mark, True

    def _collect(self, folder: _Folder, names: list[str], session: Session) -> None:
        ready = [
            f"{folder.path}/{name}"
            for name in names
            if paths.is_number(name) and int(name) in folder.waiting
        ]
        folder.listing.stale = folder.listing.stale or len(ready) > READ_TOGETHER
        for path, found in session.read_each(ready[:READ_TOGETHER]):
            if found is None:
                folder.doubtful = True  # taken meanwhile
                continue
            future = folder.waiting.pop(int(path.rpartition("/")[2]))
            if isinstance(found, Unreadable):
                future.fail(NotAuthorized(f"{path} cannot be read: check its ACL"))
            else:
                future.settle(found.data)

    def _give_up(self, folder: _Folder) -> None:
        error = NotAuthorized(
            f"ZooKeeper denied reading {folder.path}: only the client that submitted these tasks, "
            "another one with its identity, or an operator can attach to them"
        )
        for future in folder.waiting.values():
            future.fail(error)
        folder.waiting.clear()

    # --- finding tasks that are gone ---------------------------------------------------------

    def _seek(self, session: Session) -> None:
        """Look for tasks whose status may be gone, as many as one request can check."""
        now = time.monotonic()
        if not self._sought and now >= self._next_search:
            for folder in self._folders.values():
                if folder.doubtful:
                    folder.doubtful = False
                    self._sought.extend(future.task_id for future in folder.waiting.values())
            self._search, self._search_began = Search(session), now
        if not self._sought:
            return
        self._search = self._search or Search(session)
        for task in self._search.missing(self._sought):
            client, number = paths.split_task(task)
            at = self._folders.get(client)
            future = at.waiting.pop(number, None) if at is not None else None
            if future is not None:
                future.fail(
                    NotFound(
                        f"there is no task {task}, or no longer: its status was taken by the "
                        "client that submitted it, or has expired"
                    )
                )
        if not self._sought:
            now = time.monotonic()
            self._next_search = now + PAUSE_SHARE * (now - self._search_began)


def _mark(found: Found) -> Mark:
    """A value that changes whenever a status of this folder is removed."""
    if not isinstance(found, Znode):
        return None
    try:
        ledger = records.decode_ledger(found.data)
    except BadRecord:
        return found.created, -found.changed
    return found.created, ledger.taken + ledger.expired
