"""Many small changes in few large requests: the one way in which anything is written in bulk.

A `Unit` is a change that must happen whole or not at all, such as one task's move. Units travel
together in a `multi`, behind *guards* that must hold for all of them (the epoch is still mine, the
worker is still there). One bad unit refuses its whole batch; the reply names it, so it is taken
out and the rest is sent again, the part behind it in two halves. Each bad unit costs at most three
requests more, and the halving keeps the operations sent again to about n log n, whatever the order.
Units must not depend on one another: the rest of a refused batch is sent behind batches that were
under way already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from ..words import limits
from ..words.errors import ConnectionLost
from .failpoints import failpoint
from .operations import Operation, Refusal, size
from .replies import Verdict
from .session import Session

T = TypeVar("T")


class Unit(NamedTuple, Generic[T]):
    """Operations that belong together, and what they are about."""

    about: T
    operations: Sequence[Operation]


@dataclass(slots=True)
class Report(Generic[T]):
    """What became of the units.

    `refused` has those that failed by an operation of their own, which the refusal's index counts
    within the unit. `blocked` has those that one of their guards stopped; there the index counts
    the guards. `unknown` are those not answered when the connection broke, sent or not: only
    reading tells.
    """

    done: list[T] = field(default_factory=list)
    refused: list[tuple[T, Refusal]] = field(default_factory=list)
    blocked: list[tuple[T, Refusal]] = field(default_factory=list)
    unknown: list[T] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Units that need the same guards."""

    guards: Sequence[Operation]
    units: Iterable[Unit[T]]


@dataclass(frozen=True, slots=True)
class _Batch(Generic[T]):
    guards: Sequence[Operation]
    units: list[Unit[T]]

    def operations(self) -> list[Operation]:
        return [*self.guards, *(operation for unit in self.units for operation in unit.operations)]

    def abouts(self) -> list[T]:
        return [unit.about for unit in self.units]


def pack(units: Iterable[Unit[T]]) -> Iterator[list[Unit[T]]]:
    """Cut a stream of units into batches that keep the bounds in count and bytes."""
    batch: list[Unit[T]] = []
    count = total = 0
    for unit in units:
        weight = sum(size(operation) for operation in unit.operations)
        full = count + len(unit.operations) > limits.BATCH_COUNT
        if batch and (full or total + weight > limits.BATCH_BYTES):
            yield batch
            batch, count, total = [], 0, 0
        batch.append(unit)
        count += len(unit.operations)
        total += weight
    if batch:
        yield batch


def commit(session: Session, groups: Iterable[Group[T]]) -> Report[T]:
    """Carry out as many units as can be, several batches under way at a time.

    Raises SessionLost and NotAuthorized. A broken connection is told in the report instead, since
    part of the work may be done.
    """
    report: Report[T] = Report()
    waiting = deque(_Batch(group.guards, units) for group in groups for units in pack(group.units))
    under_way: deque[tuple[_Batch[T], Verdict]] = deque()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < limits.IN_FLIGHT:
                if under_way:
                    failpoint("batches.between")
                under_way.append((waiting[0], session.commit(waiting[0].operations())))
                waiting.popleft()
            batch, reply = under_way[0]
            refusal = reply.wait()
            under_way.popleft()
            waiting.extendleft(reversed(_settle(report, batch, refusal)))
    except ConnectionLost:
        for lost in (*(sent for sent, _ in under_way), *waiting):
            report.unknown += lost.abouts()
    return report


def _settle(report: Report[T], batch: _Batch[T], refusal: Refusal | None) -> list[_Batch[T]]:
    """Enter the answer to a batch into the report; return what of it is to be sent again."""
    if refusal is None:
        report.done += batch.abouts()
        return []
    if refusal.index < len(batch.guards):
        report.blocked += [(about, refusal) for about in batch.abouts()]
        return []
    bad, index = _find(batch, refusal.index - len(batch.guards))
    report.refused.append((batch.units[bad].about, Refusal(index, refusal.code)))
    return _rest(batch, bad)


def _find(batch: _Batch[T], index: int) -> tuple[int, int]:
    """The unit that the `index`-th operation belongs to, and that operation's index within it."""
    for position, unit in enumerate(batch.units):
        if index < len(unit.operations):
            return position, index
        index -= len(unit.operations)
    raise IndexError(f"ZooKeeper refused operation {index} past the end of a batch")


def _rest(batch: _Batch[T], bad: int) -> list[_Batch[T]]:
    """A refused batch without the bad unit: what stands before it, and two halves of the rest."""
    before, after = batch.units[:bad], batch.units[bad + 1 :]
    middle = (len(after) + 1) // 2
    parts = (before, after[:middle], after[middle:])
    return [_Batch(batch.guards, part) for part in parts if part]
