"""Reading the tree for an audit, in the order that its judgement in decisions/audit.py needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..decisions import audit
from ..decisions.audit import AuditReport, Reading
from ..words import paths, records
from ..words.errors import BadRecord
from ..words.model import Ledger
from .operations import Unreadable, Znode
from .quarantine import task_at
from .reader import Reader, decode
from .session import Session

READINGS: Final = 5
"""How often an audit reads the tree before it believes that something is amiss."""


class Auditor:
    """Audits a tree, which may be at work meanwhile, and never changes it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def report(self) -> AuditReport:
        """Whether the promises hold."""
        report = audit.judge(self._reading())
        for _ in range(READINGS - 1):
            if not report.lost and not report.recorded_twice:
                break
            again = audit.judge(self._reading())
            if again.lost + again.recorded_twice <= report.lost + report.recorded_twice:
                report = again
        return report

    def _reading(self) -> Reading:
        """One reading, in the order that `audit` explains."""
        reader = Reader(self._session)
        quarantined = reader.quarantined
        before = self._ledgers(reader.entries(), {})
        pending = frozenset(reader.names(paths.TASKS))
        assigned = {name: frozenset(tasks) for name, tasks in reader.assigned().items()}
        finished = reader.finished()
        after = self._ledgers(reader.entries(), quarantined)
        (root,) = self._session.read([paths.STATUS])
        reading = Reading(
            ledgers_before=before,
            pending=pending,
            assigned=assigned,
            finished=finished,
            ledgers_after=after,
            retired=decode(root, records.decode_ledger) or Ledger(),
            workers=reader.workers(),
            quarantined=quarantined,
        )
        self._examine(reading, reader)
        twice = [task for task, count in reading.seen().items() if count > 1]
        return replace(reading, two_places=self._two_places(twice, assigned))

    def _ledgers(
        self, entries: Mapping[str, Znode], quarantined: dict[str, str]
    ) -> dict[str, Ledger]:
        ledgers = {}
        for name, znode in entries.items():
            if records.is_record(znode.data):
                try:
                    ledgers[name] = records.decode_ledger(znode.data)
                except BadRecord as error:
                    quarantined[f"{paths.STATUS}/{name}"] = str(error)
        return ledgers

    def _examine(self, reading: Reading, reader: Reader) -> None:
        """Read every task and status, and note what cannot be understood."""
        quarantined = reader.quarantined

        def status_at(_path: str, znode: Znode) -> object:
            if znode.children:
                raise BadRecord(f"a status with {znode.children} children, where nothing belongs")
            return records.decode_status(znode.data)

        def ours_at(path: str, znode: Znode) -> object:
            decode_it = records.decode_ledger if path == paths.STATUS else records.decode_master
            return znode.data and decode_it(znode.data)

        masters = [paths.master(name) for name in reader.names(paths.MASTERS)]
        self._check([*masters, paths.MASTER, paths.EPOCH, paths.STATUS], ours_at, quarantined)
        tasks = [paths.task(name) for name in sorted(reading.pending)]
        for worker, names in reading.assigned.items():
            tasks += [paths.assignment(worker, name) for name in sorted(names)]
        self._check(tasks, task_at, quarantined)
        statuses = [paths.status(name) for name in sorted(reading.finished) if paths.is_task(name)]
        self._check(statuses, status_at, quarantined)

    def _check(
        self,
        names: Sequence[str],
        understand: Callable[[str, Znode], object],
        quarantined: dict[str, str],
    ) -> None:
        for path, found in self._session.read_each(names):
            if isinstance(found, Unreadable):
                quarantined[path] = str(found)
            elif found is not None:
                try:
                    understand(path, found)
                except BadRecord as error:
                    quarantined[path] = str(error)

    def _two_places(
        self, tasks: Iterable[str], assigned: Mapping[str, Collection[str]]
    ) -> dict[str, list[str]]:
        """Which of these tasks are in two places at one and the same moment."""
        confirmed = {}
        for task in tasks:
            places = [paths.task(task), paths.status(task)]
            places += [paths.assignment(worker, task) for worker in assigned]
            found = self._session.read(places)
            there = [path for path, one in zip(places, found, strict=True) if one is not None]
            if len(there) > 1:
                confirmed[task] = there
        return confirmed
