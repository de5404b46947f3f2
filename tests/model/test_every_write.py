"""A fault at every write of every role, one by one: no chance in it, and none left out.

A cluster works off a few tasks; one process stands still before its n-th write, a fault befalls it,
the others go on without it, and then all of them with it. That is done for every n there is. And it
is no ornament: with a part of the product broken, the same search comes upon a broken promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import pytest

from masterworker.decisions.life import Move
from masterworker.roles.account import Account
from masterworker.words import paths
from masterworker.zookeeper import batches
from masterworker.zookeeper.batches import Group, Report, Unit
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.session import Session
from tests.model.cluster import Cluster
from tests.model.judge import Broken
from tests.model.world import Process

ROLES = ("master", "worker", "client")
FAULTS = ("unheard", "lost", "late", "kill", "expire", "depose")
TASKS = 6
MOST_STEPS = 120
"""Steps of one process in a run without faults, and more."""


def befall(cluster: Cluster, process: Process, fault: str) -> None:
    """A fault, while the process's write is under way."""
    match fault:
        case "unheard" | "lost" | "late":
            arriving = 1 if fault == "unheard" else 0
            cluster.world.cut(process.sessions[-1], arriving, stray=fault == "late")
        case "kill":
            cluster.world.kill(process, arriving=1)
        case "expire":
            cluster.expire(process)
        case "depose":
            cluster.depose()


def run_to(cluster: Cluster, process: Process, writes: int) -> bool:
    """Go on until the process stands before that many-th write; False if it makes fewer."""
    seen = 0
    for _ in range(MOST_STEPS):
        cluster.round(without=process)
        cluster.finish_all()
        before = process.writes
        cluster.step(process)
        seen += process.writes and not before
        if seen > writes and process.writes:
            return True
    return False


def go_on_without(cluster: Cluster, process: Process, until_elected: bool) -> None:
    """The others go on, some rounds or just until another master is in office."""
    epoch = cluster.store.tree[paths.EPOCH].version
    for _ in range(MOST_STEPS if until_elected else 4):
        cluster.round(1 if until_elected else 20, without=process)
        cluster.finish_all()
        if until_elected and cluster.store.tree[paths.EPOCH].version > epoch:
            return


def strike(role: str, fault: str, writes: int) -> bool:
    """One run, with the fault at that write; False if there is no such write."""
    cluster = Cluster()
    try:
        processes = {
            "master": cluster.add_master(),
            "worker": cluster.add_worker(2),
            "client": cluster.add_client(),
        }
        cluster.submit(processes["client"], TASKS, attempts=1)
        if not run_to(cluster, processes[role], writes):
            return False
        cluster.add_master()
        befall(cluster, processes[role], fault)
        go_on_without(cluster, processes[role], until_elected=fault == "depose")
        cluster.step(processes[role])
        cluster.heal()
        cluster.add_worker(2)
        cluster.converge()
        cluster.audit()
        return True
    finally:
        cluster.end()


def strike_everywhere(role: str, fault: str) -> int:
    """Strike at every write there is, and say how many there were."""
    return next(writes for writes in count() if not strike(role, fault, writes))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("role", ROLES)
def test_a_fault_at_any_write_breaks_no_promise(role: str, fault: str) -> None:
    """Whatever write it strikes, all tasks end once, all futures too, and the books balance."""
    assert strike_everywhere(role, fault) >= 2


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A master moves tasks without the check of its epoch."""
    whole = Mover._groups

    def unfenced(self: Mover, units: Iterable[Unit[Move]]) -> Iterator[Group[Move]]:
        for group in whole(self, units):
            yield Group(group.guards[1:], group.units)

    patch.setattr(Mover, "_groups", unfenced)


def piecemeal(patch: pytest.MonkeyPatch) -> None:
    """A move is two writes, one after the other."""

    def commit(session: Session, groups: Iterable[Group[Any]]) -> Report[Any]:
        report: Report[Any] = Report()
        for unit in (unit for group in groups for unit in group.units):
            for operation in unit.operations:
                session.commit([operation]).wait()
            report.done.append(unit.about)
        return report

    patch.setattr(batches, "commit", commit)


def blind_repeat(patch: pytest.MonkeyPatch) -> None:
    """A client sends what it has no answer to once more, without asking what came of it."""

    def read_books(self: Account, session: Session) -> None:
        self._put_back_under_way()
        self._books = self._read_ledger(session)

    patch.setattr(Account, "_read_books", read_books)


@pytest.mark.parametrize(
    ("breaking", "role", "fault"),
    [
        (no_fence, "master", "depose"),
        (piecemeal, "worker", "kill"),
        (blind_repeat, "client", "unheard"),
    ],
)
def test_a_broken_part_is_found(
    breaking: Callable[[pytest.MonkeyPatch], None],
    role: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a part of the product broken on purpose, the search comes upon a broken promise."""
    breaking(monkeypatch)
    with pytest.raises(Broken):
        strike_everywhere(role, fault)
