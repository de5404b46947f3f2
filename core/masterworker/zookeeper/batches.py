"""Many small changes in few large requests: the one way in which anything is written in bulk.

A `Unit` is a change that must happen whole or not at all, such as one task's move. Units travel
together in a `multi`, behind *guards*: checks that must hold (the epoch is still mine, the worker
is still there). Units of several groups share a `multi`; each guard stands in it once, before the
first unit that needs it.

One bad unit refuses its whole batch. The reply names it, so it is taken out and the rest is sent
again, the part behind it in two halves. Each bad unit costs at most three requests more, and the
halving keeps the operations sent again to about n log n, whatever the order. A guard that fails
takes out all units that need it. Units must not depend on one another: the rest of a refused batch
is sent behind batches that were under way already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
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
    the guards of their group. `unknown` are those not answered when the connection broke, sent or
    not: only reading tells.
    """

    done: list[T] = field(default_factory=list)
    refused: list[tuple[T, Refusal]] = field(default_factory=list)
    blocked: list[tuple[T, Refusal]] = field(default_factory=list)
    unknown: list[T] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Units that need the same guards, which only check something."""

    guards: Sequence[Operation]
    units: Iterable[Unit[T]]


Member = tuple[Sequence[Operation], Unit[T]]
"""A unit in a batch, behind the guards of its group; a plain tuple, since every task makes one."""


def pack(groups: Iterable[Group[T]]) -> Iterator[list[Member[T]]]:
    """Cut a stream of units into batches that keep the bounds in count and bytes.

    The guards of a batch's first unit come on top of that.
    """
    batch: list[Member[T]] = []
    count = total = 0
    stated: set[Operation] = set()
    for group in groups:
        guards = group.guards
        extra = _new(guards, stated) if batch else []  # the guards that its first unit brings along
        stated.update(guards)
        for unit in group.units:
            more = len(extra) + len(unit.operations)
            weight = sum([size(operation) for operation in (*extra, *unit.operations)])
            full = count + more > limits.BATCH_COUNT or total + weight > limits.BATCH_BYTES
            if batch and full:
                yield batch
                batch, stated = [], set(guards)
                count, total = len(unit.operations), sum(map(size, unit.operations))
            else:
                count += more
                total += weight
            batch.append((guards, unit))
            extra = []
    if batch:
        yield batch


def _new(guards: Sequence[Operation], stated: AbstractSet[Operation]) -> list[Operation]:
    return [guard for guard in guards if guard not in stated]


def _operations(batch: Iterable[Member[T]]) -> list[Operation]:
    """What a batch has in it: each guard once, before the first unit that needs it."""
    operations: list[Operation] = []
    for new, unit in _with_new_guards(batch):
        operations += new
        operations += unit.operations
    return operations


def _with_new_guards(batch: Iterable[Member[T]]) -> Iterator[Member[T]]:
    """Each unit of a batch with those of its guards that no unit before it has."""
    stated: set[Operation] = set()
    before: Sequence[Operation] | None = None
    for guards, unit in batch:
        if guards is before:
            yield (), unit
            continue
        yield _new(guards, stated), unit
        stated.update(guards)
        before = guards


def commit(session: Session, groups: Iterable[Group[T]]) -> Report[T]:
    """Carry out as many units as can be, several batches under way at a time.

    Raises SessionLost and NotAuthorized. A broken connection is told in the report instead, since
    part of the work may be done.
    """
    report: Report[T] = Report()
    waiting = deque(pack(groups))
    under_way: deque[tuple[list[Member[T]], Verdict]] = deque()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < limits.IN_FLIGHT:
                if under_way:
                    failpoint("batches.between")
                under_way.append((waiting[0], session.commit(_operations(waiting[0]))))
                waiting.popleft()
            batch, reply = under_way[0]
            refusal = reply.wait()
            under_way.popleft()
            waiting.extendleft(reversed(_settle(report, batch, refusal)))
    except ConnectionLost:
        for lost in (*(sent for sent, _ in under_way), *waiting):
            report.unknown += [unit.about for _, unit in lost]
    return report


def _settle(
    report: Report[T], batch: list[Member[T]], refusal: Refusal | None
) -> list[list[Member[T]]]:
    """Enter the answer to a batch into the report; return what of it is to be sent again."""
    if refusal is None:
        report.done += [unit.about for _, unit in batch]
        return []
    index = refusal.index
    for place, (new, unit) in enumerate(_with_new_guards(batch)):
        if index < len(new):
            return _blocked(report, batch, new[index], refusal.code)
        index -= len(new)
        if index < len(unit.operations):
            report.refused.append((unit.about, Refusal(index, refusal.code)))
            return _rest(batch, place)
        index -= len(unit.operations)
    raise IndexError(f"ZooKeeper refused operation {refusal.index} past the end of a batch")


def _blocked(
    report: Report[T], batch: list[Member[T]], guard: Operation, code: int
) -> list[list[Member[T]]]:
    """Enter a guard's failure into the report; return the units that do not need the guard."""
    for guards, unit in batch:
        if guard in guards:
            report.blocked.append((unit.about, Refusal(guards.index(guard), code)))
    rest = [member for member in batch if guard not in member[0]]
    return [rest] if rest else []


def _rest(batch: list[Member[T]], bad: int) -> list[list[Member[T]]]:
    """A refused batch without the bad unit: what stands before it, and two halves of the rest."""
    before, after = batch[:bad], batch[bad + 1 :]
    middle = (len(after) + 1) // 2
    return [part for part in (before, after[:middle], after[middle:]) if part]
