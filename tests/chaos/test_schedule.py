"""The schedule: reproducible from its seed, complete in its kinds, never too hard to survive."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.chaos.schedule import ALONE, FAILPOINTS, Cast, Fault, deck, plan
from tests.unit.test_house import CORE

MINUTES = 20.0
SEEDS = range(1, 6)
CAST = Cast()


@pytest.fixture(params=SEEDS)
def faults(request: pytest.FixtureRequest) -> list[Fault]:
    """The schedule of a long campaign."""
    return plan(request.param, MINUTES, CAST)


def test_a_seed_reproduces_its_schedule() -> None:
    """The same seed gives the same faults, to the last detail; another seed gives others."""
    assert plan(7, MINUTES, CAST) == plan(7, MINUTES, CAST)
    assert plan(7, MINUTES, CAST) != plan(8, MINUTES, CAST)


def test_a_long_campaign_has_faults_enough(faults: list[Fault]) -> None:
    """190 or more are planned, so that 150 are carried out even if some cannot be."""
    assert len(faults) >= 190
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    times = [fault.at for fault in faults]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < MINUTES * 60


def test_every_kind_strikes_every_role_it_is_meant_for(faults: list[Fault]) -> None:
    """Whatever the deck holds is dealt: kinds, roles, failpoints."""

    def role(target: str) -> str:
        return re.sub(r"-\d+$", "", target)

    dealt = {
        (fault.kind, role(fault.target), fault.detail.get("failpoint", "")) for fault in faults
    }
    assert dealt == {(card.kind, card.role, card.point) for card in deck()}


def test_every_failpoint_of_the_product_is_used() -> None:
    """A new failpoint in the code is missing here until the schedule knows it."""
    code = "".join(path.read_text() for path in CORE.rglob("*.py"))
    in_code = set(re.findall(r'\bfailpoint\("([^"]+)"\)', code))
    assert in_code == {point for points in FAILPOINTS.values() for point in points}


def test_pauses_and_holes_are_shorter_and_longer_than_a_session(faults: list[Fault]) -> None:
    """What outlasts a session is another matter than what does not."""
    for kind in ("stop", "hole-in", "hole-out", "hole-both"):
        durations = [fault.duration for fault in faults if fault.kind == kind]
        assert min(durations) < CAST.session_timeout * 0.7
        assert max(durations) > CAST.session_timeout * 1.3


def test_the_cluster_can_recover(faults: list[Fault]) -> None:
    """Whatever takes the whole cluster out of service is over, with time to spare, before more."""
    for fault, following in itertools.pairwise(faults):
        if fault.kind in ALONE:
            assert following.at - fault.at > fault.duration + CAST.session_timeout


def test_targets_exist(faults: list[Fault]) -> None:
    """A fault strikes somebody of the cast, or somebody who can be found out at the time."""
    cast = {
        f"{role}-{number}"
        for role, count in (
            ("master", CAST.masters),
            ("worker", CAST.workers),
            ("client", CAST.clients),
        )
        for number in range(1, count + 1)
    }
    groups = {"primary", "leader", "follower", "ensemble", "workers", "masters"}
    assert {fault.target for fault in faults} <= cast | groups


def test_a_short_campaign_is_a_campaign() -> None:
    """Even half a minute has a few faults, all within it."""
    faults = plan(1, 0.5, CAST)
    assert len(faults) == 5
    assert all(fault.at < 30 for fault in faults)
