"""The result of an analysis: the promises that were broken, with evidence, and measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from tests.chaos.journals import Fault, Settings

KEPT: Final = 100
"""Maximum number of findings kept of each promise; further ones are only counted."""


class Promise(StrEnum):
    """The promises that can be broken."""

    LOST = "lost"
    RECORDED_TWICE = "recorded twice"
    ACCEPTED_TWICE = "accepted twice"
    NEVER_ACCEPTED = "never accepted but delivered"
    WRONG_VALUE = "wrong value"
    UNANSWERED = "never answered"
    CONSERVATION = "conservation"
    LEDGER = "ledger"
    STALE_EPOCH = "stale-epoch commit"
    FOREIGN_MOVE = "moved by the wrong role"
    NO_ASSIGNMENT = "status without its assignment"
    OVERLAP = "two attempts at once"
    SLOTS = "slots exceeded"
    UNEXPLAINED = "unexplained execution"
    ENDED = "unexpected exit"


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach. `at` is in seconds since the epoch; what does not apply is left out."""

    promise: Promise
    what: str
    task: str = ""
    zxid: int | None = None
    session: int | None = None
    at: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Findings:
    """All breaches counted, and the first of each kind kept."""

    def __init__(self) -> None:
        self.counts: Counter[Promise] = Counter()
        self.kept: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Count a breach, and keep it if there are few of its kind so far."""
        self.counts[finding.promise] += 1
        if self.counts[finding.promise] <= KEPT:
            self.kept.append(finding)

    def of(self, promise: Promise) -> list[Finding]:
        """The findings kept of one promise."""
        return [finding for finding in self.kept if finding.promise is promise]


@dataclass(frozen=True, slots=True)
class Term:
    """A master's term as primary. Wall-clock seconds; `ended` is None for the last one."""

    epoch: int
    master: str
    pid: int
    session: int
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a worker. `process` is the process's name, `draining` when it said so."""

    worker: str
    process: str
    pid: int
    session: int
    slots: int
    began: float
    draining: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recovery time of one fault, in seconds from its start.

    `what` is "reassigned" or "started elsewhere" (of one task of a killed worker) or "next epoch"
    (of a killed primary). `undisturbed` means that no other fault was within reach.
    """

    what: str
    fault: int
    seconds: float
    undisturbed: bool
    task: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one run.

    `numbers` has counts for the report. `processes` has the name of each process by its pid.
    `finished` has, for each status, when it was recorded.
    """

    settings: Settings
    findings: Findings
    numbers: Mapping[str, int]
    explained: Mapping[str, int]
    faults: Sequence[Fault]
    recoveries: Sequence[Recovery]
    processes: Mapping[int, str]
    terms: Sequence[Term]
    incarnations: Sequence[Incarnation]
    finished: Sequence[float]

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings.counts
