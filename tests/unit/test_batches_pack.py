"""Batches: how changes are packed, and how the bad ones among them are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
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
ZNODE = Znode(b"", 0, 0, 0, 0, 0, 0)
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


def moves_to(worker: str, numbers: Iterable[int]) -> Group[int]:
    """Moves of tasks to one worker, who must be there."""
    return Group([GUARD, Check(f"/workers/{worker}")], [move(number) for number in numbers])


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


def packed(*groups: Group[int]) -> list[list[Unit[int]]]:
    """The units of each batch."""
    return [[unit for _, unit in batch] for batch in pack(groups)]


def count_of(batch: list[Unit[int]]) -> int:
    return sum(len(unit.operations) for unit in batch)


def bytes_of(batch: list[Unit[int]]) -> int:
    return sum(size(operation) for unit in batch for operation in unit.operations)


@given(st.lists(units, max_size=120))
def test_batches_keep_their_bounds_and_lose_nothing(several: list[Unit[int]]) -> None:
    """All units in order; no batch of several over a bound; none smaller than it need be."""
    batches = packed(Group([GUARD], several))
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
    batches = packed(Group([GUARD], [move(number) for number in range(1_000)]))
    assert [len(batch) for batch in batches] == [limits.BATCH_COUNT // 2] * 8


def test_a_unit_over_the_bound_travels_alone() -> None:
    """A full-sized payload goes through, with nobody else behind it."""
    batches = packed(Group([GUARD], [move(0), move(1, limits.MAX_PAYLOAD), move(2)]))
    assert [[unit.about for unit in batch] for batch in batches] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("workers", "each", "requests"),
    [
        (1_000, 1, 13),
        (500, 2, 10),
        (250, 4, 10),
        (8, 125, 8),
        (2, 500, 8),
        (1, 1_000, 8),
        (1, 1, 1),
    ],
)
def test_groups_share_their_requests(workers: int, each: int, requests: int) -> None:
    """A thousand moves to however many workers travel in about as many requests as to one.

    Each worker's check stands in a request once, and the bound on operations counts it.
    """
    numbers = iter(range(workers * each))
    groups = [moves_to(f"w{worker}", islice(numbers, each)) for worker in range(workers)]
    network = network_of(workers * each, bad=set())
    network.znodes |= {f"/workers/w{worker}": ZNODE for worker in range(workers)}
    report = network.run_groups(*groups)
    assert sorted(report.done) == list(range(workers * each))
    assert len(network.requests) == requests
    assert sum(network.requests) <= 2 * workers * each + 2 * requests + workers
    assert max(network.requests) <= limits.BATCH_COUNT + 2


def test_packing_is_lazy() -> None:
    """A stream of units is not gathered before the first batch is full."""
    drawn = 0

    def stream() -> Iterator[Unit[int]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield move(drawn)

    next(pack([Group([GUARD], stream())]))
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


@pytest.mark.parametrize("each", [1, 2, 200])
def test_a_guard_blocks_no_other_group(each: int) -> None:
    """Some workers are gone: the moves to the others go through, and each costs a few requests."""
    groups = [moves_to(f"w{n}", range(n * each, n * each + each)) for n in range(10)]
    network = network_of(10 * each, bad=set())
    network.znodes |= {f"/workers/w{n}": ZNODE for n in range(10) if n not in (0, 3, 9)}
    gone = {number for number in range(10 * each) if number // each in (0, 3, 9)}
    report = network.run_groups(*groups)
    assert set(report.done) == set(range(10 * each)) - gone
    assert dict(report.blocked) == dict.fromkeys(gone, Refusal(1, Code.NO_NODE))
    assert not report.refused
    assert len(network.requests) <= math.ceil(10 * each / 120) + 9 * (1 + each // 125)


@pytest.mark.parametrize("gone", [range(0, 1_000, 2), range(500), range(1_000)])
def test_many_failed_guards_send_little_again(gone: range) -> None:
    """If half or all of a thousand workers are gone, n log n operations are sent."""
    network = network_of(1_000, bad=set())
    network.znodes |= {f"/workers/w{n}": ZNODE for n in range(1_000) if n not in gone}
    report = network.run_groups(*(moves_to(f"w{n}", [n]) for n in range(1_000)))
    assert sorted(about for about, _ in report.blocked) == list(gone)
    assert sorted(report.done) == sorted(set(range(1_000)) - set(gone))
    assert len(network.requests) <= 1_000
    assert sum(network.requests) <= 4 * 1_000 * math.log2(limits.BATCH_COUNT / 3)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40)), max_size=12),
    st.sets(st.integers(0, 8)),
    st.data(),
)
def test_bad_units_and_bad_guards_together(
    shares: list[tuple[int, int]], gone: set[int], data: st.DataObject
) -> None:
    """Each unit is done, refused or blocked, once, whatever is wrong with its neighbours.

    What is sent again stays bounded: three requests for each bad unit, and for each guard in each
    batch that it fails.
    """
    count = sum(each for _, each in shares)
    bad = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=10))
    numbers = iter(range(count))
    groups = [moves_to(f"w{worker}", islice(numbers, each)) for worker, each in shares]
    to = {unit.about: group.guards[1].path for group in groups for unit in group.units}
    network = network_of(count, bad)
    network.znodes |= {f"/workers/w{worker}": ZNODE for worker in range(9) if worker not in gone}
    here = {number for number in to if to[number] in network.znodes}
    report = network.run_groups(*groups)
    assert sorted(report.done) == sorted(here - bad)
    blocked = {about for about, _ in report.blocked}
    refused = {about for about, _ in report.refused}
    assert to.keys() - here <= blocked | refused
    assert blocked <= to.keys() - here
    assert here & bad <= refused <= bad
    assert len(blocked) + len(refused) + len(report.done) == count
    batches = math.ceil(count / 80)
    assert len(network.requests) <= batches + 3 * len(bad) + 3 * (len(shares) + batches)


def test_the_epoch_blocks_every_group() -> None:
    """A master whose epoch is over writes nothing, whatever else is in its batches."""
    network = network_with({"/epoch": 1})
    report = network.run_groups(*(moves_to(f"w{n}", [n]) for n in range(100)))
    assert report == Report(blocked=[(n, Refusal(0, Code.BAD_VERSION)) for n in range(100)])
    assert len(network.requests) == 2


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
