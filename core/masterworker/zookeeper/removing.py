"""Removes expired entries of /status, many in one request.

Every removal is fenced and conditional on the version that was read. If another process changed the
entry first (a client that takes its results, say), it wins, and the next sweep decides again. A
refused entry is left out, and the others of its request go through.

Each method is a generator. Between two steps, none longer than a few requests, the primary can do
urgent work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from ..decisions.cleaning import Entry
from ..words import limits, paths, records
from ..words.errors import BadRecord, ConnectionLost
from ..words.model import Ledger
from . import batches
from .batches import Group, Report, Unit
from .failpoints import failpoint
from .ledgers import write_aside
from .operations import Check, Code, Delete, Operation, Refusal, Set, Unreadable, Znode
from .quarantine import Quarantine
from .session import Session

T = TypeVar("T")

log = logging.getLogger(__name__)

REMOVED_TOGETHER: Final = 200
"""Folders retired, or statuses of one folder removed, in one `multi`."""

LISTED_TOGETHER: Final = 5_000
"""Maximum number of statuses in folders listed in one request; a single folder may exceed it."""

DROPPED_TOGETHER: Final = 1_000
"""Plain statuses removed in one step."""

ACCEPTED_TOGETHER: Final = limits.JUTE_MAXBUFFER // 64
"""An upper bound of the tasks that one write of a ledger can accept: each takes at least 73 bytes
of the request."""

EXPECTED: Final = (Code.NO_NODE, Code.BAD_VERSION, Code.NODE_EXISTS, Code.NOT_EMPTY)
"""The errors of a removal when another process was faster."""


@dataclass(slots=True)
class _Folder:
    """A client's folder that is being emptied, in its state after the removals so far."""

    path: str
    ledger: Ledger
    version: int
    numbers: list[str]

    def part(self) -> list[str]:
        """The statuses to remove next."""
        return self.numbers[:REMOVED_TOGETHER]

    def after(self) -> Ledger:
        """The ledger after they are removed."""
        return replace(self.ledger, expired=self.ledger.expired + len(self.part()))


class Remover:
    """Removes entries of /status under one epoch; invalid ones are quarantined."""

    def __init__(self, session: Session, quarantine: Quarantine, fence: Check) -> None:
        self._session = session
        self._quarantine = quarantine
        self._fence = fence

    def drop(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Remove plain statuses."""
        stream = iter(entries)
        while some := list(islice(stream, DROPPED_TOGETHER)):
            units = [Unit(one, (Delete(_path(one), one.version),)) for one in some]
            if not self._commit("old statuses", units):
                return
            yield

    def retire(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Remove settled folders, and add their ledgers to the ledger of /status."""
        root = self._session.get(paths.STATUS)
        if root is None:
            return
        try:
            total = ledger_in(root) or Ledger()
        except BadRecord as error:
            self._quarantine.add(paths.STATUS, str(error))
            return
        version = root.version
        stream = iter(entries)
        while some := list(islice(stream, REMOVED_TOGETHER)):
            while some:
                some, sum_of_all = self._addable(some, total)
                booked = Set(paths.STATUS, records.encode_ledger(sum_of_all), version)
                removed = [Delete(_path(entry), entry.version) for entry in some]
                refusal = self._write([booked, *removed]) if some else None
                yield
                if refusal is None:
                    if some:
                        log.info("housekeeping: %d settled folders retired", len(some))
                        total, version = sum_of_all, version + 1
                    break
                if refusal.index <= 1:  # the epoch is over, or the sum was written meanwhile
                    return
                self._say_why(_path(some.pop(refusal.index - 2)), refusal)

    def _addable(self, entries: Sequence[Entry], total: Ledger) -> tuple[list[Entry], Ledger]:
        """The entries whose ledgers can be added to the total so far, and the new total."""
        good = []
        for entry in entries:
            ledger = entry.ledger
            if ledger is None:
                continue
            if ledger.accepted > entry.version * ACCEPTED_TOGETHER:  # or it could overflow the sum
                why = f"its ledger has only {entry.version:,} writes, too few for its counts"
                self._quarantine.add(_path(entry), f"{why}: {ledger}")
                continue
            after = _add(total, ledger)
            if self._sound(_path(entry), after):
                good.append(entry)
                total = after
        return good, total

    def expire(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Remove the statuses in clients' folders and record them in the ledgers as expired."""
        for some in _parts(entries):
            folders = self._listed(some)
            yield
            while folders:
                units = [self._unit(folder) for folder in folders]
                report = commit(self._session, self._fence, units)
                if report.blocked:
                    return
                folders = [
                    *(folder for folder in report.done if self._emptier(folder)),
                    *(folder for folder, refusal in report.refused if self._eased(folder, refusal)),
                ]
                yield

    def _listed(self, entries: Sequence[Entry]) -> list[_Folder]:
        """The folders with the names of their statuses.

        The names are listed only now. If a folder has changed since the decision, one of them may
        be new, so each folder is read again afterwards and skipped if it has changed.
        """
        names_of = self._session.list_together([_path(entry) for entry in entries])
        again = self._session.read_each([_path(entry) for entry in entries])
        folders = []
        for entry, names, (path, found) in zip(entries, names_of, again, strict=True):
            for one in (names, found):
                if isinstance(one, Unreadable):
                    self._quarantine.add(path, str(one))
            if not isinstance(names, list) or not isinstance(found, Znode):
                continue
            if mark(found) != entry.mark or entry.ledger is None:
                continue
            numbers = [n for n in self._quarantine.sift(path, names) if paths.is_number(n)]
            folder = _Folder(path, entry.ledger, entry.version, numbers)
            if self._has_more(folder):
                folders.append(folder)
        return folders

    def _unit(self, folder: _Folder) -> Unit[_Folder]:
        booked = write_aside(folder.path, folder.after(), folder.version)
        removed = [Delete(f"{folder.path}/{number}") for number in folder.part()]
        return Unit(folder, (*booked, *removed))

    def _emptier(self, folder: _Folder) -> bool:
        """Note that a part of a folder was removed; return whether there is more."""
        log.info("housekeeping: %d old statuses of %s expired", len(folder.part()), folder.path)
        moved_on = len(write_aside(folder.path, folder.ledger, 0))
        folder.ledger, folder.version = folder.after(), folder.version + moved_on
        del folder.numbers[:REMOVED_TOGETHER]
        return self._has_more(folder)

    def _eased(self, folder: _Folder, refusal: Refusal) -> bool:
        """Skip the status for which a folder was refused; return whether there is more."""
        number = refusal.index - len(write_aside(folder.path, folder.ledger, 0))
        if number < 0 or refusal.code != Code.NOT_EMPTY:
            self._say_why(folder.path, refusal)
            return False
        blocked = folder.numbers.pop(number)
        self._quarantine.add(f"{folder.path}/{blocked}", "a status with children")
        return self._has_more(folder)

    def _has_more(self, folder: _Folder) -> bool:
        return bool(folder.numbers) and self._sound(folder.path, folder.after())

    # --- both --------------------------------------------------------------------------------

    def _sound(self, path: str, ledger: Ledger) -> bool:
        """Whether the new ledger of the folder at `path` is valid; quarantine the folder if not."""
        try:
            records.check_ledger(ledger)
        except BadRecord as error:
            self._quarantine.add(path, str(error))
            return False
        return True

    def _commit(self, what: str, units: Sequence[Unit[Entry]]) -> bool:
        """Carry out the units that succeed; return False if the epoch is over."""
        report = commit(self._session, self._fence, units)
        for entry, refusal in report.refused:
            self._say_why(_path(entry), refusal)
        if report.done:
            log.info("housekeeping: %d %s removed", len(report.done), what)
        return not report.blocked

    def _write(self, operations: Sequence[Operation]) -> Refusal | None:
        failpoint("cleaner.before-commit")
        refusal = self._session.commit([self._fence, *operations]).wait()
        failpoint("cleaner.after-commit")
        return refusal

    def _say_why(self, path: str, refusal: Refusal) -> None:
        if refusal.code not in EXPECTED:
            log.warning("housekeeping: %s was not removed: %s", path, refusal)


def commit(session: Session, fence: Check, units: Iterable[Unit[T]]) -> Report[T]:
    """Carry out the units that succeed. Raises ConnectionLost if some outcomes are unknown."""
    failpoint("cleaner.before-commit")
    report = batches.commit(session, [Group([fence], units)])
    failpoint("cleaner.after-commit")
    if report.unknown:
        raise ConnectionLost("the connection broke during housekeeping")
    return report


def mark(znode: Znode) -> tuple[int, int]:
    """A value that changes whenever a znode's data or its children do."""
    return znode.changed, znode.children_changed


def ledger_in(znode: Znode) -> Ledger | None:
    """The ledger in a znode of /status; None for a plain status, or if no data was ever written.

    Raises BadRecord.
    """
    return records.decode_ledger(znode.data) if records.is_record(znode.data) else None


def _path(entry: Entry) -> str:
    return f"{paths.STATUS}/{entry.name}"


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Split the entries into parts with few enough children to list in one request."""
    part: list[Entry] = []
    total = 0
    for entry in entries:
        full = len(part) >= limits.READ_COUNT or total + entry.children > LISTED_TOGETHER
        if part and full:
            yield part
            part, total = [], 0
        part.append(entry)
        total += entry.children
    if part:
        yield part


def _add(one: Ledger, other: Ledger) -> Ledger:
    return Ledger(
        accepted=one.accepted + other.accepted,
        taken=one.taken + other.taken,
        expired=one.expired + other.expired,
    )
