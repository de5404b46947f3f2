"""Carries out the primary's moves, each as an atomic unit of a fenced batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ..decisions.failures import failed_attempt
from ..decisions.life import Event, Move
from ..words import book, paths
from ..words.errors import BadRecord, Fenced, PayloadTooLarge
from . import batches
from .operations import Check, Code, Create, Delete, Refusal, Znode
from .session import Session
from .survey import Survey

log = logging.getLogger(__name__)

SLICE: Final = 1_000
"""Maximum number of moves carried out together."""

SLICE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of tasks in memory at which moves are carried out before more tasks are read."""

_EPOCH_GUARD: Final = 0
_CREATE: Final = 0


@dataclass(slots=True)
class Summary:
    """The outcome of a plan: moves done, moves overtaken by other changes, and unknown outcomes."""

    done: int = 0
    overtaken: int = 0
    unknown: int = 0


class Mover:
    """Carries out moves under one epoch, and updates the survey accordingly."""

    def __init__(self, session: Session, survey: Survey, epoch: int) -> None:
        self._session = session
        self._survey = survey
        self._fence = Check(paths.EPOCH, epoch)

    def carry_out(self, moves: Iterable[Move]) -> Summary:
        """Carry out all moves that are still possible. Raises Fenced if this epoch is over.

        A move whose source is gone was overtaken and is dropped; the next round reads the new
        state.
        """
        summary = Summary()
        for units in self._slices(moves):
            report = batches.commit(self._session, self._groups(units))
            if any(refusal.index == _EPOCH_GUARD for _, refusal in report.blocked):
                raise Fenced(f"epoch {self._fence.version} is over: another master was elected")
            for move in report.done:
                self._done(move)
            for move, refusal in report.refused:
                self._refused(move, refusal)
            for move, refusal in report.blocked:
                self._blocked(move, refusal)
            summary.done += len(report.done)
            summary.overtaken += len(report.refused) + len(report.blocked)
            if report.unknown:
                summary.unknown += len(report.unknown)
                for move in report.unknown:
                    self._unknown(move)
                self._survey.doubt()
                break
        return summary

    # --- before ------------------------------------------------------------------------------

    def _slices(self, moves: Iterable[Move]) -> Iterator[list[batches.Unit[Move]]]:
        """The moves as units, in slices bounded in count and bytes."""
        stream = iter(moves)
        while some := list(islice(stream, SLICE)):
            units: list[batches.Unit[Move]] = []
            total = 0
            for move, znode in self._with_data(some):
                unit = self._unit(move, znode)
                if unit is not None:
                    units.append(unit)
                    total += len(znode.data)
                if total >= SLICE_BYTES:
                    yield units
                    units, total = [], 0
            yield units

    def _groups(self, units: Iterable[batches.Unit[Move]]) -> Iterator[batches.Group[Move]]:
        """The units by target worker, each group guarded by the worker's existence."""
        groups: dict[str, list[batches.Unit[Move]]] = {}
        for unit in units:
            groups.setdefault(unit.about.to_worker, []).append(unit)
        for worker, group in groups.items():
            guards = [self._fence, Check(paths.worker(worker))] if worker else [self._fence]
            yield batches.Group(guards, group)

    def _with_data(self, moves: Sequence[Move]) -> Iterator[tuple[Move, Znode]]:
        """Each move with its source znode; moves whose source is gone are dropped."""
        missing: dict[str, Move] = {}
        for move in moves:
            kept = self._survey.kept.get(move.source)
            if kept is not None:
                yield move, kept
            else:
                missing[move.source] = move
        for path, found in self._session.read_each(list(missing)):
            if isinstance(found, Znode):
                yield missing[path], found
            else:
                self._survey.forget(missing[path].task.id, missing[path].worker)

    def _unit(self, move: Move, znode: Znode) -> batches.Unit[Move] | None:
        try:
            data = self._data(move, znode.data)
        except (BadRecord, PayloadTooLarge) as error:
            self._survey.quarantine.add(move.source, str(error))
            self._survey.forget(move.task.id, move.worker)
            return None
        owners = (move.task.owner, *self._survey.identity_of(move.to_worker))
        create = Create(move.target, data, owners=owners)
        return batches.Unit(move, (create, Delete(move.source, znode.version)))

    def _data(self, move: Move, data: bytes) -> bytes:
        """The target znode's data, given the source's data."""
        if move.status is not None:
            return book.status_data(move.task, move.status)
        worker = self._survey.workers.get(move.to_worker)
        for_book = worker is not None and worker.book
        if move.same_record and not for_book:
            return data
        return book.task_data(move.task, book.payload_in(data), for_book_worker=for_book)

    # --- after -------------------------------------------------------------------------------

    def _unknown(self, move: Move) -> None:
        """Forget the task at both ends of a move whose outcome is unknown.

        If the move was carried out, the task may have come back with a longer history since. So
        its header has to be read again wherever its name is found.
        """
        self._survey.forget(move.task.id, move.worker)
        if move.to_worker:
            self._survey.forget(move.task.id, move.to_worker)

    def _done(self, move: Move) -> None:
        self._survey.forget(move.task.id, move.worker)
        if move.to_worker:
            self._survey.assigned.setdefault(move.to_worker, {})[move.task.id] = move.task
        if move.event is not Event.ASSIGN:
            line = failed_attempt(move)
            log.warning("%s", line, extra=line.extra)

    def _blocked(self, move: Move, refusal: Refusal) -> None:
        """The worker could not be checked; if it has left, its watch reports that."""
        if refusal.code == Code.NO_NODE:
            log.info("worker %s left before it got task %s", move.to_worker, move.task.id)
        else:
            what = f"ZooKeeper refused to check whether worker {move.to_worker} exists: {refusal}"
            self._survey.shun(move.to_worker, what)

    def _refused(self, move: Move, refusal: Refusal) -> None:
        """Handle a single move that failed.

        If a worker's folder accepts no task, the worker is at fault, and the task waits for another
        one. The task is quarantined, for `mwctl audit` to report, if its target already exists (it
        would be in two places), if it has children (it cannot be deleted), or if ZooKeeper does not
        know its owner. Only a process outside the protocol can have caused these.
        """
        what = f"cannot {move.event} it to {move.target}: {refusal}"
        creating = refusal.index == _CREATE
        of_the_task = (Code.NODE_EXISTS, Code.INVALID_ACL)
        if creating and move.to_worker and refusal.code not in of_the_task:
            self._survey.shun(move.to_worker, what)
            return
        self._survey.forget(move.task.id, move.worker)
        if creating or refusal.code == Code.NOT_EMPTY:
            self._survey.quarantine.add(move.source, what)
        elif refusal.code not in (Code.NO_NODE, Code.BAD_VERSION):
            log.warning("task %s: cannot %s it: %s", move.task.id, move.event, refusal)
