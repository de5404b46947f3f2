"""The primary's view of the tree, kept up to date at the price of what changed.

Folders are listed again only when their watch fired, new znodes are read in bulk, and what is known
is kept as headers. What cannot be understood is quarantined.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final, TypeVar

from ..decisions import retry
from ..decisions.backlog import Backlog
from ..decisions.plan import Snapshot
from ..words import book, paths
from ..words.errors import BadRecord, NotAuthorized
from ..words.model import Task, Worker
from .operations import Found, Unreadable, Znode
from .quarantine import Quarantine, task_at
from .session import Session
from .watched import Listing, Value

log = logging.getLogger(__name__)

HEADERS_PER_ROUND: Final = 5_000
"""Pending tasks read in one round at the most, so that a round stays short."""

BYTES_PER_ROUND: Final = 32 * 1024 * 1024
"""Bytes of pending tasks read in one round before the rest is left to the next."""

KEPT: Final = 16 * 1024
"""Bytes up to which a task's data is kept for the rest of the round in which it was read."""

LISTING_SHARE: Final = 0.1
"""The share of its time that a primary spends on listing /tasks: a million names take a second."""

SHORT_LISTING: Final = 0.01
"""Seconds that a listing may take before the share counts: in a short one, most is the round trip,
and putting the next off would only make tasks wait."""

SECONDS_PER_NAME: Final = 10e-6
"""The most that a listing may count for, by its length; a name costs 1 to 2 µs. What it took beyond
that was spent on waiting for a ZooKeeper that stood still, and to wait nine times as long again
would only make tasks wait too."""


UNDER_WAY: Final = 250
"""Folders or announcements asked for before the first answer is awaited."""

WatchedT = TypeVar("WatchedT", Listing, Value)


class Survey:
    """What one primary knows, from the day it took office.

    `workers`, `assigned` and `backlog` are what the plan is made from. `kept` holds the znodes of
    small pending tasks read in this round, so that assigning them needs no second reading.
    """

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._clock = clock
        self._wall_clock = wall_clock
        self._next_due: float | None = None
        self._folders = Listing(session, paths.ASSIGN)
        self._assignments: dict[str, Listing] = {}
        self._registered = Listing(session, paths.WORKERS)
        self._announcements: dict[str, Value] = {}
        self._tasks = Listing(session, paths.TASKS)
        self._list_tasks_from = 0.0
        self.workers: dict[str, Worker] = {}
        self.assigned: dict[str, dict[str, Task]] = {}
        self.backlog = Backlog()
        self.quarantine = Quarantine()
        self.kept: dict[str, Znode] = {}

    def refresh(self) -> None:
        """Read whatever may have changed.

        Assignments before workers: a worker registers together with its folder, so a folder seen
        without its worker in the *later* reading belongs to a worker that is gone.
        """
        self.kept.clear()
        self._refresh_assignments()
        self._refresh_workers()
        self._list_backlog()
        self._read_backlog()
        self._next_due = self.backlog.wake(self._clock())

    def snapshot(self) -> Snapshot:
        """What is known now. It shares memory with the survey: use it before the next change."""
        return Snapshot(self.workers, self.assigned, self.backlog.queues)

    def forget(self, task: str, worker: str = "") -> None:
        """A task is no longer with this worker, or, with no worker named, no longer pending."""
        if worker:
            self.assigned.get(worker, {}).pop(task, None)
        else:
            self.backlog.remove(task)

    def identity_of(self, worker: str) -> tuple[str, ...]:
        """The worker's identity for access lists; none in an open tree."""
        announced = self.workers.get(worker)
        return (announced.owner,) if announced is not None and announced.owner else ()

    def shun(self, worker: str, why: str) -> None:
        """Give this worker no more tasks: its folder cannot be written to."""
        self.quarantine.add(paths.assignments(worker), why)
        self._folders_listed(self._assignments.keys() - {worker})

    def doubt(self) -> None:
        """Believe nothing any more: the next refresh lists everything again."""
        for listing in (self._folders, self._registered, self._tasks, *self._assignments.values()):
            listing.stale = True
        for announcement in self._announcements.values():
            announcement.stale = True
        self.quarantine.reconsider()
        self._list_tasks_from = 0.0

    def next_look(self) -> float | None:
        """The monotonic second at which something that was put off is due; None if nothing was."""
        if self.backlog.has_unread:
            return self._clock()
        listing = self._list_tasks_from if self._tasks.stale else None
        return min((due for due in (listing, self._next_due) if due is not None), default=None)

    # --- the assignments ---------------------------------------------------------------------

    def _refresh_assignments(self) -> None:
        if self._folders.stale:
            self._folders_listed(set(self._sift(self._folders)))
        stale = {name: listing for name, listing in self._assignments.items() if listing.stale}
        unread: list[str] = []
        for worker, listing in _asked(stale):
            try:
                names = set(self._sift(listing))
            except NotAuthorized as error:
                self.quarantine.add(listing.path, str(error))
                del self._assignments[worker], self.assigned[worker]
                continue
            known = self.assigned[worker]
            for gone in known.keys() - names:
                del known[gone]
            unread += [paths.assignment(worker, name) for name in names - known.keys()]
        for path, found in self._session.read_each(unread):
            task = self._understand(path, found)
            if task is not None:
                self.assigned[path.split("/")[2]][task.id] = task

    def _folders_listed(self, names: AbstractSet[str]) -> None:
        for gone in self._assignments.keys() - names:
            del self._assignments[gone], self.assigned[gone]
        for new in names - self._assignments.keys():
            self._assignments[new] = Listing(self._session, paths.assignments(new))
            self.assigned[new] = {}

    # --- the workers -------------------------------------------------------------------------

    def _refresh_workers(self) -> None:
        if self._registered.stale:
            listed = self._registered.read() or []
            self.quarantine.sift(self._registered.path, listed)
            names = {name for name in listed if paths.is_name(name)}
            for gone in self._announcements.keys() - names:
                self._drop_worker(gone)
            for new in names - self._announcements.keys():
                self._announcements[new] = Value(self._session, paths.worker(new))
        stale = {name: value for name, value in self._announcements.items() if value.stale}
        for name, value in _asked(stale):
            worker = self._worker(value)
            if worker is None:
                self._drop_worker(name)
            else:
                self.workers[name] = worker

    def _drop_worker(self, name: str) -> None:
        del self._announcements[name]
        self.workers.pop(name, None)

    def _worker(self, value: Value) -> Worker | None:
        """The worker as announced, None if it is gone.

        One that cannot be understood is there all the same: it keeps its tasks and gets none.
        """
        try:
            znode = value.read()
            return None if znode is None else self._known(book.worker_in(znode.data))
        except (BadRecord, NotAuthorized) as error:
            value.stale = False
            self.quarantine.add(value.path, str(error))
            return Worker({}, 0, 0)

    def _known(self, worker: Worker) -> Worker:
        """The worker, if it could read what it is given. Raises BadRecord."""
        access = self._session.access
        if access is not None and worker.owner not in access.who.worker:
            raise BadRecord(
                f"its identity, {worker.owner or 'none'}, was not among the workers' when this "
                "master started: name it to `mwctl acl init`, then restart the masters"
            )
        return worker

    # --- the backlog -------------------------------------------------------------------------

    def _list_backlog(self) -> None:
        began = self._clock()
        if not self._tasks.stale or began < self._list_tasks_from:
            return
        names = self._tasks.read() or []
        self.backlog.listed(self.quarantine.sift(self._tasks.path, names))
        ended = self._clock()
        spent = min(ended - began, SECONDS_PER_NAME * len(names))
        long = max(0.0, spent - SHORT_LISTING)
        self._list_tasks_from = ended + long * (1 / LISTING_SHARE - 1)

    def _read_backlog(self) -> None:
        unread = [paths.task(name) for name in self.backlog.next_unread(HEADERS_PER_ROUND)]
        arrived: list[tuple[int, Task]] = []
        total = 0
        for count, (path, found) in enumerate(self._session.read_each(unread), 1):
            task = self._understand(path, found)
            if task is None or not isinstance(found, Znode):
                continue
            arrived.append((found.created, task))
            total += len(found.data)
            if len(found.data) <= KEPT:
                self.kept[path] = found
            if total > BYTES_PER_ROUND:
                self.backlog.put_off(name.rpartition("/")[2] for name in unread[count:])
                break
        arrived.sort(key=lambda pair: pair[0])  # the listing comes in no order
        for _, task in arrived:
            resting = retry.rest(task, self._wall_clock()) if task.history else 0.0
            self.backlog.add(task, self._clock() + resting if resting else None)

    # --- understanding -----------------------------------------------------------------------

    def _sift(self, listing: Listing) -> list[str]:
        return self.quarantine.sift(listing.path, listing.read() or [])

    def _understand(self, path: str, found: Found) -> Task | None:
        """The task in a znode; None if it is gone, or cannot be understood and was set aside."""
        if found is None:
            return None
        if isinstance(found, Unreadable):
            self.quarantine.add(path, str(found))
            return None
        try:
            return task_at(path, found)
        except BadRecord as error:
            self.quarantine.add(path, str(error))
            return None


def _asked(stale: Mapping[str, WatchedT]) -> Iterator[tuple[str, WatchedT]]:
    """Each of these with its answer under way: one round trip for many, not one for each."""
    stream = iter(stale.items())
    while some := list(islice(stream, UNDER_WAY)):
        for _, watched in some:
            watched.ask()
        yield from some
