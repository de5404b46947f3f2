"""Commits many small changes in few large requests; all bulk writes go through here.

A `Unit` is a change that must happen completely or not at all, such as one task's move. Units are
sent together in a `multi`, behind *guards*: checks that must hold (the epoch is still ours, the
worker is still there). Units of several groups share a `multi`; each guard appears in it once,
before the first unit that needs it.

One bad unit or failed guard makes ZooKeeper refuse its whole batch. The reply identifies it, so the
unit, or all units that need the guard, are removed and the rest is sent again, the part behind the
failure in two halves. Each failure costs at most three extra requests, and the halving bounds the
operations sent again to about n log n in any order. Units must not depend on one another: the rest
of a refused batch is sent behind batches that are already under way.
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
    """The operations of one change, and the object it is about."""

    about: T
    operations: Sequence[Operation]


@dataclass(slots=True)
class Report(Generic[T]):
    """The outcome of each unit.

    `refused` has the units that failed by one of their own operations; the refusal's index counts
    within the unit. `blocked` has those stopped by one of their guards; there the index counts the
    guards of their group. `unknown` has those without an answer when the connection broke, whether
    sent or not: only a read can tell.
    """

    done: list[T] = field(default_factory=list)
    refused: list[tuple[T, Refusal]] = field(default_factory=list)
    blocked: list[tuple[T, Refusal]] = field(default_factory=list)
    unknown: list[T] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Units that need the same guards; guards only check, they never write."""

    guards: Sequence[Operation]
    units: Iterable[Unit[T]]


Member = tuple[Sequence[Operation], Unit[T]]
"""A unit in a batch, behind its group's guards; a plain tuple, since one is made for every task."""


def pack(groups: Iterable[Group[T]]) -> Iterator[list[Member[T]]]:
    """Split a stream of units into batches that stay within the limits in count and bytes.

    The guards of a batch's first unit are not counted.
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
    """The operations of a batch: each guard once, before the first unit that needs it."""
    operations: list[Operation] = []
    for new, unit in _with_new_guards(batch):
        operations += new
        operations += unit.operations
    return operations


def _with_new_guards(batch: Iterable[Member[T]]) -> Iterator[Member[T]]:
    """Each unit of a batch with those of its guards that no earlier unit has."""
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
    """Commit as many units as possible, with several batches under way at a time.

    Raises SessionLost and NotAuthorized. A broken connection is reported through `unknown` instead,
    since part of the work may be done.
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
    """Record the answer to a batch in the report; return the parts to send again."""
    if refusal is None:
        report.done += [unit.about for _, unit in batch]
        return []
    index = refusal.index
    for place, (new, unit) in enumerate(_with_new_guards(batch)):
        if index < len(new):
            return _blocked(report, batch, place, new[index], refusal.code)
        index -= len(new)
        if index < len(unit.operations):
            report.refused.append((unit.about, Refusal(index, refusal.code)))
            return _parts(batch[:place], batch[place + 1 :])
        index -= len(unit.operations)
    raise IndexError(f"ZooKeeper refused operation {refusal.index} past the end of a batch")


def _blocked(
    report: Report[T], batch: list[Member[T]], place: int, guard: Operation, code: int
) -> list[list[Member[T]]]:
    """Record a failed guard in the report; return the units that do not need that guard.

    The first unit that needs it is at `place`.
    """
    rest: list[Member[T]] = []
    for guards, unit in batch[place:]:
        if guard in guards:
            report.blocked.append((unit.about, Refusal(guards.index(guard), code)))
        else:
            rest.append((guards, unit))
    return _parts(batch[:place], rest)


def _parts(before: list[Member[T]], after: list[Member[T]]) -> list[list[Member[T]]]:
    """What to send again of a refused batch: the part before the failure, and that after in halves.

    ZooKeeper got past the part before, so it is likely to succeed and stays whole.
    """
    middle = (len(after) + 1) // 2
    return [part for part in (before, after[:middle], after[middle:]) if part]
