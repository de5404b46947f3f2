"""Batches: how changes are packed, and how the bad ones among them are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.words import limits
from masterworker.words.errors import ConnectionLost, NotAuthorized, SessionLost
from masterworker.zookeeper.batches import Group, Report, Unit, commit, pack
from masterworker.zookeeper.operations import (
    Check,
    Code,
    Create,
    Delete,
    Operation,
    Refusal,
    Znode,
    size,
)
from masterworker.zookeeper.session import Session
from tests.model.store import EMPTY, Tree, carry_out
from tests.unit import strategies  # noqa: F401 - sets the profile

GUARD = Check("/epoch", 0)
FOLDERS = ("/", "/from", "/to", "/workers")


@dataclass
class Answer:
    """What a commit came to."""

    outcome: Refusal | Exception | None

    def wait(self) -> Refusal | None:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@dataclass
class Network:
    """The part of a session that batches need, on a tree of the model's.

    It carries a request out when it is sent, and answers when it is asked. `fault` is asked before
    each request, by number, and may return the error to answer with instead.
    """

    znodes: Tree = field(default_factory=lambda: dict(EMPTY))
    requests: list[int] = field(default_factory=list)
    fault: Callable[[int], Exception | None] = lambda _: None
    unanswered: int = 0
    most_unanswered: int = 0

    def commit(self, operations: Sequence[Operation]) -> Network.Pending:
        number = len(self.requests)
        self.requests.append(len(operations))
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        return Network.Pending(self, Answer(self.fault(number) or self._apply(operations)))

    @dataclass
    class Pending:
        network: Network
        answer: Answer

        def wait(self) -> Refusal | None:
            self.network.unanswered -= 1
            return self.answer.wait()

    def _apply(self, operations: Sequence[Operation]) -> Refusal | None:
        outcome = carry_out(operations, self.znodes, 1, 1)
        if isinstance(outcome, Refusal):
            return outcome
        self.znodes, _ = outcome
        return None

    @property
    def versions(self) -> dict[str, int]:
        """The znodes below the folders, with their versions."""
        return {path: one.version for path, one in self.znodes.items() if path not in FOLDERS}

    def run(self, units: Sequence[Unit[int]], *guards: Operation) -> Report[int]:
        return self.run_groups(Group(guards, units))

    def run_groups(self, *groups: Group[int]) -> Report[int]:
        return commit(cast("Session", self), groups)


def move(number: int, weight: int = 0) -> Unit[int]:
    """The unit that moves one task, as a master or a worker does."""
    create = Create(f"/to/{number}", b"x" * weight)
    return Unit(number, (create, Delete(f"/from/{number}", 0)))


def network_with(versions: Mapping[str, int]) -> Network:
    """A network to a tree of these znodes and the folders they lie in."""
    wanted = dict.fromkeys(FOLDERS, 0) | dict(versions)
    return Network({path: Znode(b"", version, 0, 0, 0, 0, 0) for path, version in wanted.items()})


def network_of(count: int, bad: set[int]) -> Network:
    """One in which all moves below `count` can be made, except those that are bad."""
    here = {f"/from/{number}": 0 for number in range(count) if number not in bad}
    return network_with({"/epoch": 0, **here})


# --- packing ---------------------------------------------------------------------------------

units = st.builds(
    Unit,
    st.integers(),
    st.lists(
        st.builds(
            Create,
            st.just("/a"),
            st.sampled_from([0, 100, 40_000, limits.BATCH_BYTES]).map(bytes),
        ),
        min_size=1,
        max_size=9,
    ),
)


def count_of(batch: list[Unit[int]]) -> int:
    return sum(len(unit.operations) for unit in batch)


def bytes_of(batch: list[Unit[int]]) -> int:
    return sum(size(operation) for unit in batch for operation in unit.operations)


@given(st.lists(units, max_size=120))
def test_batches_keep_their_bounds_and_lose_nothing(several: list[Unit[int]]) -> None:
    """All units in order; no batch of several over a bound; none smaller than it need be."""
    batches = list(pack(several))
    assert [unit for batch in batches for unit in batch] == several
    for batch in batches:
        assert batch
        if len(batch) > 1:
            assert count_of(batch) <= limits.BATCH_COUNT
            assert bytes_of(batch) <= limits.BATCH_BYTES
    for one, after in pairwise(batches):
        together = [*one, after[0]]
        assert count_of(together) > limits.BATCH_COUNT or bytes_of(together) > limits.BATCH_BYTES


def test_small_units_fill_batches() -> None:
    """A thousand moves of two operations travel in eight requests."""
    batches = list(pack(move(number) for number in range(1_000)))
    assert [len(batch) for batch in batches] == [limits.BATCH_COUNT // 2] * 8


def test_a_unit_over_the_bound_travels_alone() -> None:
    """A full-sized payload goes through, with nobody else behind it."""
    batches = list(pack([move(0), move(1, limits.MAX_PAYLOAD), move(2)]))
    assert [[unit.about for unit in batch] for batch in batches] == [[0], [1], [2]]


def test_packing_is_lazy() -> None:
    """A stream of units is not gathered before the first batch is full."""
    drawn = 0

    def stream() -> Iterator[Unit[int]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield move(drawn)

    next(pack(stream()))
    assert drawn == limits.BATCH_COUNT // 2 + 1


# --- committing ------------------------------------------------------------------------------


@given(st.integers(1, 600), st.data())
def test_the_bad_are_found_and_the_others_go_through(count: int, data: st.DataObject) -> None:
    """k bad units among n: each is refused by name, the rest is done, and it costs little.

    Each refusal names one bad unit and leaves at most three parts, so k of them cost at most 3k
    requests more; the halves keep what is sent again at n log n operations.
    """
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=40), "bad")
    network = network_of(count, bad)
    report = network.run([move(number) for number in range(count)], GUARD)
    check_outcome(network, report, count, bad)
    batches = math.ceil(count / (limits.BATCH_COUNT // 2))
    assert len(network.requests) <= batches + 3 * len(bad)
    assert len(network.requests) <= batches + (len(bad) + 1) * (math.log2(count) + 3)
    assert sum(network.requests) <= most_sent(count)


def most_sent(count: int) -> float:
    """Operations that may be sent for so many units: what is sent again is halved each time."""
    return 4 * count * (math.log2(count) + 2)


def check_outcome(network: Network, report: Report[int], count: int, bad: set[int]) -> None:
    """Every unit is in the list where it belongs, once, and the tree agrees."""
    good = set(range(count)) - bad
    assert sorted(report.done) == sorted(good)
    assert sorted(about for about, _ in report.refused) == sorted(bad)
    assert {refusal for _, refusal in report.refused} <= {Refusal(1, Code.NO_NODE)}
    assert not report.blocked
    assert not report.unknown
    assert network.versions == {"/epoch": 0} | {f"/to/{number}": 0 for number in good}


@pytest.mark.parametrize("count", [1, 125, 500])
def test_all_bad(count: int) -> None:
    """Even if nothing can be done, each unit is refused in one request of its own, no more."""
    network = network_of(count, bad=set(range(count)))
    report = network.run([move(number) for number in range(count)], GUARD)
    check_outcome(network, report, count, set(range(count)))
    assert len(network.requests) == count
    assert sum(network.requests) <= most_sent(count)


def test_a_refusal_counts_within_its_unit() -> None:
    """Whoever reads it need not know what else was in the batch, guards or other units."""
    network = network_with({"/epoch": 0, "/from/1": 0, "/from/2": 7, "/from/3": 0, "/to/3": 0})
    report = network.run([move(1), move(2), move(3)], GUARD)
    assert report.done == [1]
    assert sorted(report.refused) == [
        (2, Refusal(1, Code.BAD_VERSION)),
        (3, Refusal(0, Code.NODE_EXISTS)),
    ]


def test_a_guard_blocks_its_whole_group() -> None:
    """The epoch is over: nothing is done, and everything is told with the guard's index."""
    network = network_of(300, bad=set())
    before = network.versions
    report = network.run([move(number) for number in range(300)], GUARD, Check("/workers/w"))
    refusal = Refusal(1, Code.NO_NODE)
    assert report == Report(blocked=[(number, refusal) for number in range(300)])
    assert network.versions == before
    assert len(network.requests) == 3


def test_a_guard_blocks_no_other_group() -> None:
    """One worker is gone; the moves to the other go through."""
    network = network_of(4, bad=set())
    network.znodes["/workers/b"] = Znode(b"", 0, 0, 0, 0, 0, 0)
    report = network.run_groups(
        Group([GUARD, Check("/workers/a")], [move(0), move(1)]),
        Group([GUARD, Check("/workers/b")], [move(2), move(3)]),
    )
    assert report.done == [2, 3]
    assert [about for about, _ in report.blocked] == [0, 1]


def test_a_broken_connection_leaves_all_that_was_not_answered_unknown() -> None:
    """From the lost reply on, whether it was sent or not: nobody may take it for dealt with."""

    def broken(number: int) -> Exception | None:
        return ConnectionLost("cut") if number == 2 else None

    count = limits.BATCH_COUNT // 2
    network = network_of(count * 20, bad=set())
    network.fault = broken
    report = network.run([move(number) for number in range(count * 20)], GUARD)
    assert report.done == list(range(2 * count))
    assert report.unknown == list(range(2 * count, 20 * count))
    assert len(network.requests) == 2 + limits.IN_FLIGHT
    assert not report.refused
    assert not report.blocked


def test_requests_under_way_are_bounded() -> None:
    """Several at a time, so that the server is never idle, and never more than IN_FLIGHT."""
    network = network_of(5_000, bad=set(range(0, 5_000, 100)))
    report = network.run([move(number) for number in range(5_000)], GUARD)
    assert len(report.done) == 4_950
    assert network.most_unanswered == limits.IN_FLIGHT
    assert network.unanswered == 0


@pytest.mark.parametrize("error", [SessionLost("over"), NotAuthorized("no")])
def test_the_end_of_a_session_is_raised(error: Exception) -> None:
    """There is nothing to report to go on with."""
    network = network_of(1, bad=set())
    network.fault = lambda _: error
    with pytest.raises(type(error)):
        network.run([move(0)], GUARD)


def test_nothing_to_do_sends_nothing() -> None:
    """No request for no units."""
    network = network_with({})
    assert network.run([], GUARD) == Report()
    assert network.requests == []
