"""The primary's view of the tree, kept up to date at a cost proportional to the changes.

Folders are listed again only after their watch has fired, new znodes are read in bulk, and only
headers are kept. Znodes that cannot be understood are quarantined.
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
"""Maximum number of pending tasks read in one round, so that a round stays short."""

BYTES_PER_ROUND: Final = 32 * 1024 * 1024
"""Bytes of pending tasks read in one round; the rest is left to the next round."""

KEPT: Final = 16 * 1024
"""Maximum size in bytes of a task whose data is kept for the rest of its round."""

LISTING_SHARE: Final = 0.1
"""The share of its time that a primary spends on listing /tasks: a million names take a second."""

SHORT_LISTING: Final = 0.01
"""Listings up to this many seconds do not count towards the share: most of a short one is the round
trip, and postponing the next would only delay tasks."""

SECONDS_PER_NAME: Final = 10e-6
"""Maximum seconds per name that a listing counts for; a name costs 1 to 2 µs. Any further time was
spent waiting for a stalled ZooKeeper, and waiting nine times as long again would only delay
tasks."""


UNDER_WAY: Final = 250
"""Folders or announcements requested before waiting for the first answer."""

WatchedT = TypeVar("WatchedT", Listing, Value)


class Survey:
    """The knowledge of one primary since it was elected.

    `workers`, `assigned` and `backlog` are the input of the plan. `kept` holds the znodes of small
    pending tasks read in this round, so that they need not be read again to be assigned.
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
        """Read everything that may have changed.

        Assignments are read before workers. A worker registers together with its folder, so a
        folder whose worker is missing from the *later* read belongs to a worker that is gone.
        """
        self.kept.clear()
        self._refresh_assignments()
        self._refresh_workers()
        self._list_backlog()
        self._read_backlog()
        self._next_due = self.backlog.wake(self._clock())

    def snapshot(self) -> Snapshot:
        """The current view. It shares memory with the survey: use it before the next change."""
        return Snapshot(self.workers, self.assigned, self.backlog.queues)

    def forget(self, task: str, worker: str = "") -> None:
        """Remove a task from this worker or, without a worker, from the pending tasks."""
        if worker:
            self.assigned.get(worker, {}).pop(task, None)
        else:
            self.backlog.remove(task)

    def identity_of(self, worker: str) -> tuple[str, ...]:
        """The worker's identity for access lists; none in an open tree."""
        announced = self.workers.get(worker)
        return (announced.owner,) if announced is not None and announced.owner else ()

    def shun(self, worker: str, why: str) -> None:
        """Give this worker no more tasks, because its folder cannot be written."""
        self.quarantine.add(paths.assignments(worker), why)
        self._folders_listed(self._assignments.keys() - {worker})

    def doubt(self) -> None:
        """Discard the current view: the next refresh lists everything again."""
        for listing in (self._folders, self._registered, self._tasks, *self._assignments.values()):
            listing.stale = True
        for announcement in self._announcements.values():
            announcement.stale = True
        self.quarantine.reconsider()
        self._list_tasks_from = 0.0

    def next_look(self) -> float | None:
        """The monotonic second at which postponed work is due; None if there is none."""
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
        """The worker as announced; None if it is gone.

        A worker whose announcement cannot be understood still exists: it keeps its tasks but gets
        no new ones.
        """
        try:
            znode = value.read()
            return None if znode is None else self._known(book.worker_in(znode.data))
        except (BadRecord, NotAuthorized) as error:
            value.stale = False
            self.quarantine.add(value.path, str(error))
            return Worker({}, 0, 0)

    def _known(self, worker: Worker) -> Worker:
        """The worker, if it is allowed to read its tasks. Raises BadRecord."""
        access = self._session.access
        if access is not None and worker.owner not in access.who.worker:
            raise BadRecord(
                f"its identity, {worker.owner or 'none'}, was not among the workers' when this "
                "master started: add it with `mwctl acl init`, then restart the masters"
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
        arrived.sort(key=lambda pair: pair[0])  # a listing has no order
        for _, task in arrived:
            resting = retry.rest(task, self._wall_clock()) if task.history else 0.0
            self.backlog.add(task, self._clock() + resting if resting else None)

    # --- decoding ----------------------------------------------------------------------------

    def _sift(self, listing: Listing) -> list[str]:
        return self.quarantine.sift(listing.path, listing.read() or [])

    def _understand(self, path: str, found: Found) -> Task | None:
        """The task in a znode; None if it is gone, or invalid and now quarantined."""
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
    """Each of these with its request under way: one round trip for many."""
    stream = iter(stale.items())
    while some := list(islice(stream, UNDER_WAY)):
        for _, watched in some:
            watched.ask()
        yield from some
