"""The audit: checks from readings of the tree, possibly a live one, whether the guarantees hold.

Every task that a client's ledger counts as accepted must be pending, assigned, finished, taken or
expired. On a live tree, tasks move while the folders are read one after another, so the order
matters: `accepted` is read first, then /tasks, /assign and /status, and finally the numbers of
taken and expired tasks. A task that moves forward meanwhile is seen once or twice, and duplicates
are recognized by name. Only a task that moves back can be missed.

So a single reading only gives suspicions. A suspicion becomes a finding if all further readings
confirm it. If a task of an earlier reading is missing in a later one, a single request looks in all
of its places, so that it cannot be missed again.
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
"""Maximum number of findings that are listed. The counts include all findings."""

READINGS: Final = 5
"""Number of consecutive readings that must show a problem before it is reported."""

RECOVERY: Final = 10.0
"""Seconds after which tasks of a lost worker that the primary has not recovered are reported. The
primary is notified of the loss at once, and needs at most a second or two."""


class Kind(Enum):
    """The kinds of problems."""

    LOST = auto()
    RECORDED_TWICE = auto()
    TWO_PLACES = auto()
    OVERFULL = auto()
    ORPHANED = auto()
    NO_LEDGER = auto()
    PRIMARY = auto()
    TREE = auto()
    QUARANTINED = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem. `about` is a client, task, worker or path; `tasks` is how many are affected."""

    kind: Kind
    about: str
    text: str
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class Office:
    """The primary in /master and the owner of /epoch, read by one request."""

    primary: Master
    epoch_owner: str


PATH: Final = 500
"""Maximum characters of a path in a finding. Paths of masterworker are shorter."""

REASON: Final = 500
"""Maximum characters of the reason why a znode was quarantined."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the tree, in the order of the fields.

    `found_again` are tasks that an earlier reading saw and this one missed, but that still exist.
    `retired` is the ledger of /status itself. `registered` has the names of all workers, `workers`
    those with a valid record. `owners` maps each znode that should be ephemeral to its session.
    `two_places` are tasks that a single request found in several places, with their paths. `idle`
    are clients whose settled folder should have been removed.
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
        """The tasks in each place."""
        yield self.pending
        yield from self.assigned.values()
        yield self.finished
        yield self.found_again

    def seen(self) -> set[str]:
        """All tasks that were seen."""
        return set().union(*self.places())

    def seen_twice(self) -> set[str]:
        """The tasks that were seen in several places, possibly at different times."""
        seen: set[str] = set()
        twice: set[str] = set()
        for tasks in self.places():
            twice |= seen & tasks
            seen |= tasks
        return twice

    def orphans(self) -> dict[str, list[str]]:
        """The tasks of each dead worker, except quarantined ones."""
        return {
            worker: sorted(
                task for task in tasks if paths.assignment(worker, task) not in self.quarantined
            )
            for worker, tasks in self.assigned.items()
            if worker not in self.registered
        }


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of the audit. `quarantined` counts znodes, the other numbers count tasks.

    `findings` describe problems. `notes` are additional information and no problems.
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
        """Whether there are no problems."""
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
    """The possible problems in one reading."""
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
    """Compare each client's tasks with its ledger."""
    of_client = Counter(paths.client(task) for task in reading.seen())
    for client, ledger in reading.ledgers_after.items():
        before = reading.ledgers_before.get(client)
        if before is None:
            continue  # the client is new since the reading began
        settled = of_client[client] + ledger.taken + ledger.expired
        if settled < before.accepted:
            missing = before.accepted - settled
            text = f"client {client}: {missing} of {before.accepted} accepted tasks are lost"
            yield Finding(Kind.LOST, client, text, missing)
        elif before == ledger and settled > ledger.accepted:
            more = settled - ledger.accepted
            text = f"client {client}: {more} more tasks are recorded than were accepted"
            yield Finding(Kind.RECORDED_TWICE, client, text, more)
    for client in of_client.keys() - reading.ledgers_after.keys() - {""}:
        if paths.statuses(client) not in reading.quarantined:
            count = of_client[client]
            text = f"client {client} has {count} tasks but no ledger at {paths.statuses(client)}"
            yield Finding(Kind.NO_LEDGER, client, text, count)


def _in_two_places(reading: Reading) -> Iterator[Finding]:
    for task, places in sorted(reading.two_places.items()):
        text = f"task {task} is in more than one place: {', '.join(places)}"
        yield Finding(Kind.TWO_PLACES, task, text, int(paths.status(task) in places))


def _overfull(reading: Reading) -> Iterator[Finding]:
    for name, tasks in sorted(reading.assigned.items()):
        worker = reading.workers.get(name)
        if worker is not None and len(tasks) > worker.slots:
            text = f"worker {name} has {len(tasks)} tasks but only {worker.slots} slots"
            yield Finding(Kind.OVERFULL, name, text, len(tasks) - worker.slots)


def _orphaned(reading: Reading) -> Iterator[Finding]:
    """Tasks of dead workers that the primary, if there is one, should have recovered."""
    for worker, tasks in sorted(reading.orphans().items()):
        if tasks and reading.office is not None:
            text = f"worker {worker} is dead, but its {len(tasks)} tasks are not recovered"
            yield Finding(Kind.ORPHANED, worker, text, len(tasks))


def _misheld(reading: Reading) -> Iterator[Finding]:
    """Check that one master is the primary, and that ephemeral znodes are ephemeral."""
    for path, owner in sorted(reading.owners.items()):
        if not owner:
            yield Finding(
                Kind.TREE, path, f"{path} is not ephemeral: it outlives the process that created it"
            )
    if reading.office is None:
        return
    primary = reading.office.primary.id
    if reading.office.epoch_owner != primary:
        other = reading.office.epoch_owner
        text = f"{paths.MASTER} names {primary}, but {paths.EPOCH} names {other}"
        yield Finding(Kind.PRIMARY, paths.EPOCH, text)
    if primary not in reading.masters:
        text = f"{paths.MASTER} names {primary}, but {paths.master(primary)} does not exist"
        yield Finding(Kind.PRIMARY, paths.MASTER, text)
    elif reading.owners.get(paths.MASTER) != reading.owners.get(paths.master(primary)):
        text = f"{paths.MASTER} and {paths.master(primary)} belong to different sessions"
        yield Finding(Kind.PRIMARY, paths.MASTER, text)


# --- from several readings -----------------------------------------------------------------------


def persisting(before: Iterable[Finding], now: Iterable[Finding]) -> list[Finding]:
    """The suspicions in both sets, each with the smaller number of tasks."""
    fewest = {(finding.kind, finding.about): finding for finding in before}
    return [
        min(finding, fewest[finding.kind, finding.about], key=lambda one: one.tasks)
        for finding in now
        if (finding.kind, finding.about) in fewest
    ]


def settled(suspected: Sequence[Finding], readings: int, seconds: float) -> bool:
    """Whether the suspicions are confirmed after this number of readings and seconds."""
    patient = all(finding.kind is not Kind.ORPHANED for finding in suspected)
    return not suspected or (readings >= READINGS and (patient or seconds >= RECOVERY))


def report(reading: Reading, findings: Sequence[Finding]) -> AuditReport:
    """The report: the numbers of the last reading, and the findings."""
    counts: Counter[Kind] = Counter()
    for finding in findings:
        counts[finding.kind] += finding.tasks
    texts = [finding.text for finding in findings]
    if len(texts) > FINDINGS:
        texts = [*islice(texts, FINDINGS), f"and {len(texts) - FINDINGS} more problems"]
    ledgers = [*reading.ledgers_after.values(), reading.retired]
    return AuditReport(
        accepted=sum(ledger.accepted for ledger in ledgers)
        + sum(1 for task in reading.seen() if not paths.is_task(task)),  # these are in no ledger
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
        yield f"{waiting} tasks of dead workers are waiting to be recovered: there is no primary"
    empty = sum(not tasks for worker, tasks in reading.assigned.items() if worker in orphans)
    if empty:
        yield f"{empty} empty folders of dead workers: a primary removes them within a minute"
    if reading.idle:
        yield f"{len(reading.idle)} settled client folders have not changed for more than a day"
    yield from _mixed("workers", reading.workers.values())
    yield from _mixed("masters", reading.masters.values())


def _mixed(who: str, running: Iterable[Worker | Master]) -> Iterator[str]:
    versions = Counter(one.version for one in running if one.version)
    if len(versions) > 1:
        each = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
        yield f"{who} run different versions: {each}"
