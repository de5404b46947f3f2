"""Carrying out the primary's housekeeping: old statuses, balanced books, folders of nobody.

Every removal is fenced and conditional on the version that was read, so whoever was faster (a
client taking its results, say) wins, and the next look decides anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from ..decisions import cleaning
from ..decisions.cleaning import Drop, Entry, Expire, Removal, Retire, Seen
from ..words import limits, paths, records
from ..words.errors import BadRecord, NotAuthorized
from ..words.model import Ledger
from .failpoints import failpoint
from .ledgers import write_aside
from .operations import Check, Code, Create, Delete, Operation, Refusal, Set, Unreadable, Znode
from .session import Session
from .survey import Survey

log = logging.getLogger(__name__)

REMOVED_TOGETHER: Final = 200
"""Statuses removed in one `multi`."""

ACCEPTED_TOGETHER: Final = limits.JUTE_MAXBUFFER // 64
"""More tasks than one write of a ledger can accept: creating one takes 73 bytes of the request."""


class Cleaner:
    """The housekeeping of one term of office. All times are seconds."""

    def __init__(
        self,
        session: Session,
        survey: Survey,
        epoch: int,
        *,
        status_ttl: float,
        folder_ttl: float,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._survey = survey
        self._fence = Check(paths.EPOCH, epoch)
        self._status_ttl = status_ttl
        self._folder_ttl = folder_ttl
        self._grace = grace
        self._clock = clock
        self._seen: dict[str, Seen] = {}
        self._absent: dict[str, float] = {}

    def mend_folders(self) -> None:
        """Make the assignment folder of a worker that has none; remove those of nobody."""
        for worker in self._survey.workers.keys() - self._survey.assigned.keys():
            folder = Create(paths.assignments(worker), owners=self._survey.identity_of(worker))
            if self._commit(f"folder of worker {worker}", folder) is None:
                self._survey.quarantine.forget(folder.path)
        now = self._clock()
        absent = self._survey.snapshot().absent()
        self._absent = {name: self._absent.get(name, now) for name in absent}
        empty = [name for name in absent if not self._survey.assigned[name]]
        for worker in cleaning.stale_folders(self._absent, empty, now, self._grace):
            self._commit(f"folder of lost worker {worker}", Delete(paths.assignments(worker)))

    def sweep(self) -> None:
        """Look at every entry of /status and remove what has been quiet for too long."""
        names = self._session.children(paths.STATUS).wait() or []
        sound = self._survey.quarantine.sift(paths.STATUS, names)
        entries = list(self._entries(sound))
        now = self._clock()
        self._seen = cleaning.look(self._seen, entries, now)
        for removal in cleaning.removals(
            entries,
            self._seen,
            now,
            status_ttl=self._status_ttl,
            folder_ttl=self._folder_ttl,
        ):
            self._remove(removal)

    def _entries(self, names: list[str]) -> Iterator[Entry]:
        for path, found in self._session.read_each([f"{paths.STATUS}/{name}" for name in names]):
            if isinstance(found, Unreadable):
                self._survey.quarantine.add(path, str(found))
            if not isinstance(found, Znode):
                continue
            try:
                ledger = _ledger(found)
            except BadRecord as error:
                self._survey.quarantine.add(path, str(error))
                continue
            name = path.rpartition("/")[2]
            yield Entry(name, found.version, found.children, _mark(found), ledger)

    def _remove(self, removal: Removal) -> None:
        entry = removal.entry
        path = f"{paths.STATUS}/{entry.name}"
        match removal:
            case Drop():
                self._commit(f"old status {path}", Delete(path, entry.version))
            case Retire():
                self._retire(path, entry)
            case Expire():
                self._expire(path, entry)

    def _retire(self, path: str, entry: Entry) -> None:
        root = self._session.get(paths.STATUS)
        if root is None or entry.ledger is None:
            return
        if entry.ledger.accepted > entry.version * ACCEPTED_TOGETHER:  # or it could fill the sum
            why = f"its ledger was written {entry.version:,} times, too seldom for what it counts"
            self._survey.quarantine.add(path, f"{why}: {entry.ledger}")
            return
        try:
            sum_so_far = _ledger(root) or Ledger()
        except BadRecord as error:
            self._survey.quarantine.add(paths.STATUS, str(error))
            return
        total = _add(sum_so_far, entry.ledger)
        if not self._sound(path, total):
            return
        self._commit(
            f"settled folder {path}",
            Delete(path, entry.version),
            Set(paths.STATUS, records.encode_ledger(total), root.version),
        )

    def _expire(self, path: str, entry: Entry) -> None:
        """Remove a folder's statuses and book them, a bounded number in each `multi`.

        The names are listed only now: if the folder has changed since it was judged, one of them
        may be new. Whoever made it may have given themselves the right to close it meanwhile, and
        that must not end the primary.
        """
        ledger, version = entry.ledger, entry.version
        try:
            names = self._session.children(path).wait() or []
            again = self._session.get(path)
        except NotAuthorized as error:
            self._survey.quarantine.add(path, str(error))
            return
        if again is None or ledger is None or _mark(again) != entry.mark:
            return
        numbers = [n for n in self._survey.quarantine.sift(path, names) if paths.is_number(n)]
        while numbers:
            part = numbers[:REMOVED_TOGETHER]
            after = replace(ledger, expired=ledger.expired + len(part))
            if not self._sound(path, after):
                return
            book_them = write_aside(path, after, version)
            removed = [Delete(f"{path}/{number}") for number in part]
            refusal = self._commit(f"{len(part)} old statuses of {path}", *book_them, *removed)
            if refusal is None:
                ledger, version = after, version + len(book_them)
                del numbers[: len(part)]
            elif refusal.code == Code.NOT_EMPTY:
                blocked = numbers.pop(refusal.index - 1 - len(book_them))
                self._survey.quarantine.add(f"{path}/{blocked}", "a status with children")
            else:
                return

    def _sound(self, path: str, ledger: Ledger) -> bool:
        """Whether these books, which the folder at `path` brings about, can be read again."""
        try:
            records.check_ledger(ledger)
        except BadRecord as error:
            self._survey.quarantine.add(path, str(error))
            return False
        return True

    def _commit(self, what: str, *operations: Operation) -> Refusal | None:
        failpoint("cleaner.before-commit")
        refusal = self._session.commit([self._fence, *operations]).wait()
        failpoint("cleaner.after-commit")
        if refusal is None:
            log.info("housekeeping: %s", what)
        elif refusal.index == 0:
            log.info("housekeeping stops: the epoch is over")
        elif refusal.code not in (Code.NO_NODE, Code.BAD_VERSION, Code.NODE_EXISTS, Code.NOT_EMPTY):
            log.warning("housekeeping: %s: %s", what, refusal)
        return refusal


def _mark(znode: Znode) -> tuple[int, int]:
    """What changes whenever a znode's data or its children do."""
    return znode.changed, znode.children_changed


def _ledger(znode: Znode) -> Ledger | None:
    """The books in a znode of /status; None for a plain status, or for data never written."""
    return records.decode_ledger(znode.data) if records.is_record(znode.data) else None


def _add(one: Ledger, other: Ledger) -> Ledger:
    return Ledger(
        accepted=one.accepted + other.accepted,
        taken=one.taken + other.taken,
        expired=one.expired + other.expired,
    )
