"""The schedule of a campaign: which fault hits which target and when, from a seed alone.

Kinds are dealt like cards, so that each comes up as often as its weight says: a deck holds every
kind and is reshuffled when it is used up. Faults start about six seconds apart and may overlap. The
few that take the whole cluster out of service (`ALONE`) get time to recover before the next one, so
that no schedule keeps the cluster down for long.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SPACING: Final = 6.0
"""Seconds of a campaign for each fault."""

QUIET: Final = 4.0
"""Seconds without a new fault at the start and at the end of a campaign."""

ALONE: Final = frozenset({"quorum-loss", "ensemble-restart", "rolling-restart"})

EXTRA_GAP: Final = 1.5
"""Extra time after a fault of ALONE until the next one, in mean gaps."""

FAILPOINTS: Final[Mapping[str, Mapping[str, int]]] = {
    "worker": {
        "worker.registered": 1,
        "worker.read": 10,
        "worker.before-commit": 10,
        "worker.after-commit": 10,
    },
    "master": {
        "election.before-commit": 1,
        "election.after-commit": 1,
        "master.in-office": 1,
        "master.planned": 10,
        "master.before-moves": 10,
        "master.after-moves": 10,
        "master.swept": 1,
        "cleaner.before-commit": 1,
        "cleaner.after-commit": 1,
        "batches.between": 10,
    },
    "client": {"client.accepted": 10},
}
"""By role: every failpoint of the product, and the maximum number of passes before it triggers."""

COMMITS: Final = "MULTI"
READS: Final = ("MULTI_READ", "GET_CHILDREN")
"""Operations that are dropped: mostly commits, since only they can leave an unknown outcome."""


@dataclass(frozen=True)
class Cast:
    """The number of processes of each role, and their session timeout in seconds."""

    masters: int = 3
    workers: int = 5
    clients: int = 3
    zookeepers: int = 3
    session_timeout: float = 3.0


@dataclass(frozen=True)
class Fault:
    """A planned fault. `at` and `duration` are seconds, `at` since the campaign's start.

    `target` is a process, a role determined at the time (`primary`, `leader` or `follower`), or a
    group.
    """

    number: int
    at: float
    kind: str
    target: str
    duration: float = 0.0
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fault as in schedule.json."""
        return asdict(self)


@dataclass(frozen=True)
class Card:
    """A kind of fault for a role; `long` says whether it outlasts a session."""

    kind: str
    role: str
    long: bool = False
    point: str = ""


def plan(seed: int, minutes: float, cast: Cast) -> list[Fault]:
    """The faults of a campaign of this many minutes, in the order of their times."""
    chance = random.Random(f"chaos {seed}")  # noqa: S311 - the same for the same seed
    count = max(1, round(minutes * 60 / SPACING))
    cards = _dealt(chance, count)
    times = _times(chance, cards, minutes * 60)
    return [
        _fault(chance, number, at, card, cast)
        for number, (at, card) in enumerate(zip(times, cards, strict=True), start=1)
    ]


def deck() -> list[Card]:
    """Every kind of fault for every role, as often as its weight."""
    return [*_for_processes(), *_failpoints(), *_for_zookeeper(), *_rolling()]


def _for_processes() -> Iterator[Card]:
    weights = {"worker": 3, "primary": 2, "client": 1}
    for role, weight in weights.items():
        yield from [Card("kill", role)] * weight
        yield from [Card("drop-reply", role)] * weight
        yield Card("drop-request", role)
        yield Card("expire", role)
        yield Card("reset", role)
        yield Card("delay", role)
        yield Card("stop", role)
        yield Card("stop", role, long=True)
    for kind in ("hole-in", "hole-out", "hole-both"):
        for role in ("worker", "primary"):
            yield Card(kind, role, long=True)
        yield Card(kind, "worker")
    yield Card("hole-both", "client", long=True)
    yield Card("kill", "master")
    yield Card("stop", "master", long=True)


def _failpoints() -> Iterator[Card]:
    for role, points in FAILPOINTS.items():
        for point in points:
            yield Card("failpoint", role, point=point)


def _for_zookeeper() -> Iterator[Card]:
    for server in ("leader", "follower"):
        yield Card("kill", server)
        yield Card("stop", server)
        yield Card("stop", server, long=True)
    yield Card("quorum-loss", "ensemble")
    yield Card("ensemble-restart", "ensemble")


def _rolling() -> Iterator[Card]:
    yield Card("rolling-restart", "workers")
    yield Card("rolling-restart", "masters")


def _dealt(chance: random.Random, count: int) -> list[Card]:
    cards: list[Card] = []
    while len(cards) < count:
        fresh = deck()
        chance.shuffle(fresh)
        cards += fresh
    return cards[:count]


def _times(chance: random.Random, cards: list[Card], seconds: float) -> list[float]:
    """The time of each card: random gaps that together fill the time."""
    gaps = [chance.uniform(0.3, 1.7) + EXTRA_GAP * (card.kind in ALONE) for card in cards]
    scale = max(0.0, seconds - 2 * QUIET) / sum(gaps)
    times, at = [], QUIET
    for gap in gaps:
        times.append(round(at, 2))
        at += gap * scale
    return times


def _fault(chance: random.Random, number: int, at: float, card: Card, cast: Cast) -> Fault:
    numbered = {"worker": cast.workers, "master": cast.masters, "client": cast.clients}
    target = card.role
    if target in numbered:
        target = f"{target}-{chance.randint(1, numbered[target])}"
    duration = round(_duration(chance, card, cast.session_timeout), 2)
    return Fault(number, at, card.kind, target, duration, _detail(chance, card))


def _duration(chance: random.Random, card: Card, timeout: float) -> float:
    """Seconds that a fault lasts; for a kill, seconds until the process is back."""
    if card.kind in ("drop-request", "drop-reply", "expire", "reset", "rolling-restart"):
        return 0.0
    if card.kind == "kill":
        return chance.uniform(0.3, 1.5) if card.role != "leader" else chance.uniform(0.5, 4.0)
    if card.kind == "delay":
        return chance.uniform(1.0, 2.0) * timeout
    if card.kind == "quorum-loss":
        return chance.uniform(1.0, 2.0) * timeout
    if card.kind == "ensemble-restart":
        return chance.uniform(0.2, 1.0)
    if card.long or card.kind == "failpoint":
        return chance.uniform(1.4, 2.2) * timeout
    return chance.uniform(0.1, 0.6) * timeout


def _detail(chance: random.Random, card: Card) -> dict[str, Any]:
    if card.kind in ("drop-request", "drop-reply"):
        operation = chance.choice((COMMITS, COMMITS, COMMITS, *READS))
        return {"operation": operation, "nth": chance.randint(1, 4)}
    if card.kind == "delay":
        return {"latency": round(chance.uniform(0.02, 0.3), 3)}
    if card.kind == "failpoint":
        action = chance.choice(("kill", "kill", "stop"))
        count = chance.randint(1, FAILPOINTS[card.role][card.point])
        return {"failpoint": card.point, "action": action, "count": count}
    return {}
