"""Reads the tree for an audit, in the order that decisions/audit.py requires.

An audit sends only read requests, and a bounded number of them: one listing for each folder that is
not empty, and bulk reads of data. Only names are kept, about 200 bytes for each task. All data is
read in the first pass; later passes read only the znodes that seemed invalid.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from ..decisions import audit
from ..decisions.audit import AuditReport, Finding, Kind, Office, Reading
from ..words import paths, records
from ..words.errors import BadRecord
from ..words.model import Ledger
from .operations import Unreadable, Znode
from .quarantine import task_at
from .reader import Reader, decode, last
from .session import Session

PAUSE: Final = 0.05
"""Seconds between the first readings, which must agree."""

LONG_PAUSE: Final = 1.0
"""Seconds between later readings, while a finding may still resolve itself."""

SLICE: Final = 10_000
"""Maximum number of paths in memory at a time while their data is read."""

PLACES_AT_ONCE: Final = 2_000
"""Maximum number of places in one request, where all must be read as of one moment."""

LOOKED_FOR: Final = 2_000
"""Maximum number of tasks searched for individually in a reading; further ones count as found."""

IDLE: Final = 25 * 3600.0
"""Seconds without a change after which a client's settled folder is reported. A primary removes
such a folder much earlier, after an hour."""

_LEAVES: Final = (paths.MASTERS, paths.WORKERS, paths.CANCEL)
"""Folders whose children are leaves; /tasks, /assign and /status are handled separately."""


class Auditor:
    """Audits a tree without changing it; the cluster may be running meanwhile."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def report(self) -> AuditReport:
        """Check the guarantees: read until each suspicion is confirmed or has disappeared."""
        began = time.monotonic()
        reading = self._reading()
        suspected = audit.suspicions(reading)
        readings = 1
        while not audit.settled(suspected, readings, time.monotonic() - began):
            time.sleep(PAUSE if readings < audit.READINGS else LONG_PAUSE)
            reading = self._reading(reading, suspected)
            suspected = audit.persisting(suspected, audit.suspicions(reading))
            readings += 1
        return audit.report(reading, suspected)

    def _reading(
        self, earlier: Reading | None = None, suspected: Iterable[Finding] = ()
    ) -> Reading:
        """One reading, in the order explained in `audit`.

        The first reading reads everything; later ones read names, and the data that was suspect.
        """
        reader = Reader(self._session)
        before = _ledgers(reader.entries(), {})
        reading = Reading(
            ledgers_before=before,
            pending=frozenset(reader.names(paths.TASKS)),
            assigned={name: frozenset(tasks) for name, tasks in reader.assigned().items()},
            finished=reader.finished(),
            quarantined=reader.quarantined,
        )
        if earlier is not None:
            wanted = {one.about for one in suspected if one.kind is Kind.LOST}
            reading = replace(reading, found_again=self._look_for(wanted, earlier, reading))
        entries = reader.entries()
        reading = replace(
            self._with_roles(reading, reader),
            ledgers_after=_ledgers(entries, reader.quarantined),
            idle=_idle(entries),
            two_places=self._two_places(reading),
        )
        wishes = reader.names(paths.CANCEL)
        if earlier is None:
            self._examine(_everything(reading, wishes), reader)
        else:
            bad = (one.about for one in suspected if one.kind is Kind.QUARANTINED)
            self._examine(bad, reader)
        return reading

    # --- masters, workers and folders ------------------------------------------------------------

    def _with_roles(self, reading: Reading, reader: Reader) -> Reading:
        """Add the masters and workers to a reading; workers are read after their assignments."""
        registered = [paths.worker(name) for name in reader.names(paths.WORKERS)]
        announced = [paths.master(name) for name in reader.names(paths.MASTERS)]
        office, epoch, status, *folders = self._session.read(
            [paths.MASTER, paths.EPOCH, paths.STATUS, *paths.FOLDERS]
        )
        missing = [path for path, one in zip(paths.FOLDERS, folders, strict=True) if one is None]
        primary = decode(office, records.decode_master)
        owner = decode(epoch, records.decode_master)
        owners = {paths.MASTER: office.owner} if isinstance(office, Znode) else {}
        for path, found in self._session.read_each([*registered, *announced]):
            if isinstance(found, Znode):
                owners[path] = found.owner
        return replace(
            reading,
            registered=frozenset(map(last, registered)),
            workers=reader.workers(),
            masters=reader.decoded(announced, records.decode_master),
            office=Office(primary, owner.id if owner else "no master") if primary else None,
            owners=owners,
            missing_folders=[] if len(missing) == len(folders) else missing,
            retired=decode(status, records.decode_ledger) or Ledger(),
        )

    # --- tasks that moved meanwhile --------------------------------------------------------------

    def _look_for(self, clients: set[str], earlier: Reading, reading: Reading) -> frozenset[str]:
        """These clients' tasks that are missing from this reading but still exist."""
        known = {task for task in earlier.seen() if paths.client(task) in clients}
        absent = sorted(known - reading.seen())
        given = absent[LOOKED_FOR:]
        found = self._places(absent[:LOOKED_FOR], reading)
        return frozenset(chain(given, (task for task, places in found if places)))

    def _two_places(self, reading: Reading) -> dict[str, list[str]]:
        """The tasks that are in two places at the same moment."""
        suspects = sorted(reading.seen_twice())
        return {task: places for task, places in self._places(suspects, reading) if len(places) > 1}

    def _places(self, tasks: Iterable[str], reading: Reading) -> Iterator[tuple[str, list[str]]]:
        """All places where each of these tasks exists, as of one moment for each task."""
        remaining = iter(tasks)
        together = max(1, PLACES_AT_ONCE // (len(reading.assigned) + 2))
        while part := list(islice(remaining, together)):
            places = {
                task: [
                    paths.task(task),
                    *(paths.assignment(worker, task) for worker in reading.assigned),
                    paths.status(task),
                ]
                for task in part
            }
            every = [path for each in places.values() for path in each]
            found = dict(zip(every, self._session.read(every), strict=True))
            for task, each in places.items():
                yield task, [path for path in each if found[path] is not None]

    # --- invalid znodes --------------------------------------------------------------------------

    def _examine(self, names: Iterable[str], reader: Reader) -> None:
        """Read these znodes, and quarantine those that are invalid."""
        remaining = iter(names)
        while part := list(islice(remaining, SLICE)):
            for path, found in self._session.read_each(part):
                if isinstance(found, Unreadable):
                    reader.quarantined[path] = str(found)
                elif found is not None:
                    try:
                        _understand(path, found)
                    except BadRecord as error:
                        reader.quarantined[path] = str(error)


def _everything(reading: Reading, wishes: Iterable[str]) -> Iterator[str]:
    """The path of every znode that holds data, except the ledgers."""
    yield from (paths.MASTER, *paths.FOLDERS)
    yield from (path for path in reading.owners if path != paths.MASTER)
    yield from (paths.task(name) for name in reading.pending)
    for worker, names in reading.assigned.items():
        yield from (paths.assignment(worker, name) for name in names)
    yield from (paths.status(name) for name in reading.finished)
    yield from (f"{paths.CANCEL}/{name}" for name in wishes)


def _understand(path: str, znode: Znode) -> None:
    """Raise BadRecord if a znode's data or children are not valid for its path."""
    _, top, *below = path.split("/")
    folder = f"/{top}"
    if not below:
        _understand_top(folder, znode)
    elif folder == paths.TASKS or (folder == paths.ASSIGN and len(below) > 1):
        task_at(path, znode)
    elif folder == paths.STATUS and len(below) > 1:
        records.decode_status(znode.data)
        _nothing_below(znode)
    elif folder in _LEAVES or (folder == paths.STATUS and not paths.is_client(below[0])):
        _nothing_below(znode)


def _understand_top(folder: str, znode: Znode) -> None:
    if folder in (paths.MASTER, paths.EPOCH):
        _nothing_below(znode)
        if znode.data:
            records.decode_master(znode.data)
    elif folder == paths.STATUS and znode.data:
        records.decode_ledger(znode.data)


def _nothing_below(znode: Znode) -> None:
    if znode.children:
        raise BadRecord(f"it has {znode.children} children, but must have none")


def _ledgers(entries: Mapping[str, Znode], quarantined: dict[str, str]) -> dict[str, Ledger]:
    ledgers = {}
    for name, znode in entries.items():
        if records.is_record(znode.data):
            try:
                ledgers[name] = records.decode_ledger(znode.data)
            except BadRecord as error:
                quarantined[f"{paths.STATUS}/{name}"] = str(error)
    return ledgers


def _idle(entries: Mapping[str, Znode]) -> list[str]:
    """The clients whose settled folder has not changed for a long time."""
    return [
        name
        for name, znode in entries.items()
        if not znode.children
        and time.time() - znode.modified > IDLE
        and (ledger := decode(znode, records.decode_ledger)) is not None
        and not ledger.unsettled
    ]
