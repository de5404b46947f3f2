"""Do the promises hold? Judged from readings of the tree, which may be live.

Each client's tasks are counted: of the tasks its ledger says were accepted, each is pending,
assigned or finished, or was taken or expired. On a live tree these are read one after another while
tasks move on, so the order of reading matters: `accepted` first, then /tasks, /assign, /status, and
what was taken and expired last. A task that moves forward meanwhile is seen once or twice, and what
is seen twice is known by its name; only a task that moves back can be missed.

So one reading gives suspicions, and only what every further reading shows as well becomes a
finding. A task that an earlier reading saw and a later one missed is looked for in all its places
by one request, and so cannot be missed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Any, Final

from ..words import paths
from ..words.model import Ledger, Master, Worker

FINDINGS: Final = 100
"""Findings spelled out at the most; the numbers count all."""

READINGS: Final = 5
"""How many readings in a row must show something amiss before it is believed."""

RECOVERY: Final = 10.0
"""Seconds for which a primary in office must leave a lost worker's tasks where they are before
that is believed: it is told of the loss at once, and a round takes it a second or two at worst."""


class Kind(Enum):
    """What can be amiss."""

    LOST = auto()
    RECORDED_TWICE = auto()
    TWO_PLACES = auto()
    OVERFULL = auto()
    ORPHANED = auto()
    NO_BOOKS = auto()
    OFFICE = auto()
    TREE = auto()
    QUARANTINED = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something amiss. `about` is the client, task, worker or path; `tasks` is how many it hits."""

    kind: Kind
    about: str
    text: str
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class Office:
    """/master and /epoch as one request found them: who is primary, and whose the epoch is."""

    primary: Master
    epoch_owner: str


PATH: Final = 500
"""Characters of a strange znode's path in a finding; ours are shorter."""

REASON: Final = 500
"""Characters of why it was set aside."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The tree as read, in the order in which the fields stand.

    `found_again` are tasks that an earlier reading saw, that this one missed, and that are there
    all the same. `retired` is the ledger of /status itself. `registered` names all workers,
    `workers` those that can be understood. `owners` has the session that holds each znode that
    ought to be ephemeral. `two_places` are tasks that one and the same request found in more than
    one place, with those paths. `idle` are clients whose settled folder is past its time.
    """

    ledgers_before: Mapping[str, Ledger] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    assigned: Mapping[str, frozenset[str]] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    found_again: frozenset[str] = frozenset()
    ledgers_after: Mapping[str, Ledger] = field(default_factory=dict)
    retired: Ledger = field(default_factory=Ledger)
    registered: frozenset[str] = frozenset()
    workers: Mapping[str, Worker] = field(default_factory=dict)
    masters: Mapping[str, Master] = field(default_factory=dict)
    office: Office | None = None
    owners: Mapping[str, int] = field(default_factory=dict)
    missing_folders: Sequence[str] = ()
    quarantined: Mapping[str, str] = field(default_factory=dict)
    two_places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    idle: Sequence[str] = ()

    def places(self) -> Iterator[AbstractSet[str]]:
        """The tasks of each place, place by place."""
        yield self.pending
        yield from self.assigned.values()
        yield self.finished
        yield self.found_again

    def seen(self) -> set[str]:
        """The tasks that were seen anywhere."""
        return set().union(*self.places())

    def seen_twice(self) -> set[str]:
        """The tasks that were seen in several places, at different moments perhaps."""
        seen: set[str] = set()
        twice: set[str] = set()
        for tasks in self.places():
            twice |= seen & tasks
            seen |= tasks
        return twice

    def orphans(self) -> dict[str, list[str]]:
        """The tasks of each worker that is gone, except those that are quarantined."""
        return {
            worker: sorted(
                task for task in tasks if paths.assignment(worker, task) not in self.quarantined
            )
            for worker, tasks in self.assigned.items()
            if worker not in self.registered
        }


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict. The numbers are of tasks, but `quarantined` is of znodes.

    `findings` say in words what is wrong; `notes` tell what is worth knowing and breaks no promise.
    """

    accepted: int
    taken: int
    pending: int
    assigned: int
    finished: int
    expired: int
    lost: int
    recorded_twice: int
    orphaned: int
    quarantined: int
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """The report as `mwctl audit -o json` prints it."""
        return {
            "ok": self.ok,
            "accepted": self.accepted,
            "taken": self.taken,
            "pending": self.pending,
            "assigned": self.assigned,
            "finished": self.finished,
            "expired": self.expired,
            "lost": self.lost,
            "recorded_twice": self.recorded_twice,
            "orphaned": self.orphaned,
            "quarantined": self.quarantined,
            "findings": list(self.findings),
            "notes": list(self.notes),
        }


# --- from one reading ----------------------------------------------------------------------------


def suspicions(reading: Reading) -> list[Finding]:
    """What seems amiss in one reading."""
    return [
        *_unbalanced(reading),
        *_in_two_places(reading),
        *_overfull(reading),
        *_orphaned(reading),
        *_misheld(reading),
        *(Finding(Kind.TREE, path, f"{path} is missing") for path in reading.missing_folders),
        *(
            Finding(Kind.QUARANTINED, path, f"{path:.{PATH}}: {why:.{REASON}}")
            for path, why in sorted(reading.quarantined.items())
        ),
    ]


def _unbalanced(reading: Reading) -> Iterator[Finding]:
    """Hold each client's tasks against its ledger."""
    of_client = Counter(paths.client(task) for task in reading.seen())
    for client, ledger in reading.ledgers_after.items():
        before = reading.ledgers_before.get(client)
        if before is None:
            continue  # new since the reading began: nothing is known to be amiss
        settled = of_client[client] + ledger.taken + ledger.expired
        if settled < before.accepted:
            missing = before.accepted - settled
            text = f"client {client}: {missing} of {before.accepted} accepted tasks lost"
            yield Finding(Kind.LOST, client, text, missing)
        elif before == ledger and settled > ledger.accepted:
            more = settled - ledger.accepted
            text = f"client {client}: {more} more tasks recorded than were accepted"
            yield Finding(Kind.RECORDED_TWICE, client, text, more)
    for client in of_client.keys() - reading.ledgers_after.keys() - {""}:
        if paths.statuses(client) not in reading.quarantined:
            count = of_client[client]
            text = f"client {client} has {count} tasks and no ledger under {paths.statuses(client)}"
            yield Finding(Kind.NO_BOOKS, client, text, count)


def _in_two_places(reading: Reading) -> Iterator[Finding]:
    for task, places in sorted(reading.two_places.items()):
        text = f"task {task} is in more than one place: {', '.join(places)}"
        yield Finding(Kind.TWO_PLACES, task, text, int(paths.status(task) in places))


def _overfull(reading: Reading) -> Iterator[Finding]:
    for name, tasks in sorted(reading.assigned.items()):
        worker = reading.workers.get(name)
        if worker is not None and len(tasks) > worker.slots:
            text = f"worker {name} has {len(tasks)} tasks and {worker.slots} slots"
            yield Finding(Kind.OVERFULL, name, text, len(tasks) - worker.slots)


def _orphaned(reading: Reading) -> Iterator[Finding]:
    """Tasks that the primary, if there is one, ought to have recovered."""
    for worker, tasks in sorted(reading.orphans().items()):
        if tasks and reading.office is not None:
            text = f"worker {worker} is gone, and its {len(tasks)} tasks are not recovered"
            yield Finding(Kind.ORPHANED, worker, text, len(tasks))


def _misheld(reading: Reading) -> Iterator[Finding]:
    """Whether one master is the primary, and ephemeral znodes are ephemeral."""
    for path, owner in sorted(reading.owners.items()):
        if not owner:
            yield Finding(
                Kind.TREE, path, f"{path} is not ephemeral: it outlives the process that created it"
            )
    if reading.office is None:
        return
    primary = reading.office.primary.id
    if reading.office.epoch_owner != primary:
        text = f"{paths.MASTER} names {primary}, {paths.EPOCH} names {reading.office.epoch_owner}"
        yield Finding(Kind.OFFICE, paths.EPOCH, text)
    if primary not in reading.masters:
        text = f"{paths.MASTER} names {primary}, and there is no {paths.master(primary)}"
        yield Finding(Kind.OFFICE, paths.MASTER, text)
    elif reading.owners.get(paths.MASTER) != reading.owners.get(paths.master(primary)):
        text = f"{paths.MASTER} and {paths.master(primary)} belong to different sessions"
        yield Finding(Kind.OFFICE, paths.MASTER, text)


# --- from several readings -----------------------------------------------------------------------


def persisting(before: Iterable[Finding], now: Iterable[Finding]) -> list[Finding]:
    """The suspicions that were there before and are there now, each as bad as it was at least."""
    fewest = {(finding.kind, finding.about): finding for finding in before}
    return [
        min(finding, fewest[finding.kind, finding.about], key=lambda one: one.tasks)
        for finding in now
        if (finding.kind, finding.about) in fewest
    ]


def settled(suspected: Sequence[Finding], readings: int, seconds: float) -> bool:
    """Whether what is suspected after so many readings, over so many seconds, may be believed."""
    patient = all(finding.kind is not Kind.ORPHANED for finding in suspected)
    return not suspected or (readings >= READINGS and (patient or seconds >= RECOVERY))


def report(reading: Reading, findings: Sequence[Finding]) -> AuditReport:
    """The numbers of the last reading, with what was found."""
    counts: Counter[Kind] = Counter()
    for finding in findings:
        counts[finding.kind] += finding.tasks
    texts = [finding.text for finding in findings]
    if len(texts) > FINDINGS:
        texts = [*islice(texts, FINDINGS), f"and {len(texts) - FINDINGS} more"]
    ledgers = [*reading.ledgers_after.values(), reading.retired]
    return AuditReport(
        accepted=sum(ledger.accepted for ledger in ledgers)
        + sum(1 for task in reading.seen() if not paths.is_task(task)),  # these have no ledger
        taken=sum(ledger.taken for ledger in ledgers),
        pending=len(reading.pending),
        assigned=sum(len(tasks) for tasks in reading.assigned.values()),
        finished=len(reading.finished),
        expired=sum(ledger.expired for ledger in ledgers),
        lost=counts[Kind.LOST],
        recorded_twice=counts[Kind.RECORDED_TWICE] + counts[Kind.TWO_PLACES],
        orphaned=counts[Kind.ORPHANED],
        quarantined=sum(finding.kind is Kind.QUARANTINED for finding in findings),
        findings=tuple(texts),
        notes=tuple(_notes(reading)),
    )


def _notes(reading: Reading) -> Iterator[str]:
    orphans = reading.orphans()
    waiting = sum(len(tasks) for tasks in orphans.values())
    if reading.office is None and waiting:
        yield f"{waiting} tasks of workers that are gone wait for a primary, and there is none"
    empty = sum(not tasks for worker, tasks in reading.assigned.items() if worker in orphans)
    if empty:
        yield f"{empty} empty folders of workers that are gone: a primary removes them in a minute"
    if reading.idle:
        yield f"{len(reading.idle)} settled folders of clients are unchanged for more than a day"
    yield from _mixed("workers", reading.workers.values())
    yield from _mixed("masters", reading.masters.values())


def _mixed(who: str, running: Iterable[Worker | Master]) -> Iterator[str]:
    versions = Counter(one.version for one in running if one.version)
    if len(versions) > 1:
        each = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
        yield f"{who} of several versions: {each}"
