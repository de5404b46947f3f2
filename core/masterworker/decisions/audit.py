"""Do the promises hold? Judged from one reading of the tree, which may be live.

The books are balanced for each client: of the tasks its ledger says were accepted, each is pending,
assigned or finished, or was taken or expired. On a live tree these are read one after another while
tasks move on, so the order of reading matters: `accepted` first, then /tasks, /assign, /status, and
what was taken and expired last. A task that moves forward meanwhile is seen once or twice, and what
is seen twice is known by its name; only a task that moves back can be missed, and it must do so in
every reading to be called lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from ..words import paths
from ..words.model import Ledger, Worker

FINDINGS: Final = 100
"""Findings spelled out at the most; the numbers count all."""


PATH: Final = 500
"""Characters of a strange znode's path in a finding; ours are shorter."""

REASON: Final = 500
"""Characters of why it was set aside."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The tree as read, in the order in which the fields stand.

    `retired` is the ledger of /status itself. `two_places` are tasks that one
    and the same request found in more than one place, with those paths.
    """

    ledgers_before: Mapping[str, Ledger] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    assigned: Mapping[str, frozenset[str]] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    ledgers_after: Mapping[str, Ledger] = field(default_factory=dict)
    retired: Ledger = field(default_factory=Ledger)
    workers: Mapping[str, Worker] = field(default_factory=dict)
    quarantined: Mapping[str, str] = field(default_factory=dict)
    two_places: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def seen(self) -> Counter[str]:
        """In how many places each task was seen."""
        places = Counter(self.pending)
        for tasks in self.assigned.values():
            places.update(tasks)
        places.update(self.finished)
        return places


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict. The numbers are of tasks; `findings` say in words what is wrong."""

    accepted: int
    taken: int
    pending: int
    assigned: int
    finished: int
    expired: int
    lost: int
    recorded_twice: int
    quarantined: int
    findings: tuple[str, ...]

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
            "quarantined": self.quarantined,
            "findings": list(self.findings),
        }


def judge(reading: Reading) -> AuditReport:
    """Hold one reading of the tree against the promises."""
    seen = reading.seen()
    of_client: Counter[str] = Counter()
    plain = 0
    for task in seen:
        if paths.is_task(task):
            of_client[paths.split_task(task)[0]] += 1
        else:
            plain += 1  # of one of the book's clients, which keep no books
    findings: list[str] = []
    lost = twice = 0
    for client, ledger in reading.ledgers_after.items():
        before = reading.ledgers_before.get(client)
        if before is None:
            continue  # new since the reading began: nothing is known to be amiss
        settled = of_client[client] + ledger.taken + ledger.expired
        if settled < before.accepted:
            missing = before.accepted - settled
            lost += missing
            findings.append(f"client {client}: {missing} of {before.accepted} accepted tasks lost")
        elif before == ledger and settled > ledger.accepted:
            more = settled - ledger.accepted
            twice += more
            findings.append(f"client {client}: {more} more tasks recorded than were accepted")
    for task, places in sorted(reading.two_places.items()):
        findings.append(f"task {task} is in more than one place: {', '.join(places)}")
        twice += paths.status(task) in places
    findings += _overfull(reading)
    findings += [
        f"{path:.{PATH}}: {why:.{REASON}}" for path, why in sorted(reading.quarantined.items())
    ]
    if len(findings) > FINDINGS:
        findings = [*islice(findings, FINDINGS), f"and {len(findings) - FINDINGS} more"]
    ledgers = [*reading.ledgers_after.values(), reading.retired]
    return AuditReport(
        accepted=sum(ledger.accepted for ledger in ledgers) + plain,
        taken=sum(ledger.taken for ledger in ledgers),
        pending=len(reading.pending),
        assigned=sum(len(tasks) for tasks in reading.assigned.values()),
        finished=len(reading.finished),
        expired=sum(ledger.expired for ledger in ledgers),
        lost=lost,
        recorded_twice=twice,
        quarantined=len(reading.quarantined),
        findings=tuple(findings),
    )


def _overfull(reading: Reading) -> list[str]:
    return [
        f"worker {name} has {len(tasks)} tasks and {reading.workers[name].slots} slots"
        for name, tasks in sorted(reading.assigned.items())
        if name in reading.workers and len(tasks) > reading.workers[name].slots
    ]
