"""A client's account on the model of ZooKeeper: replies get lost, requests come late, others write.

Requests are under way until somebody waits for an answer. Integration tests do the same through a
proxy.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.roles.account import Account, Submission
from masterworker.roles.future import TaskFuture
from masterworker.words import limits, paths, records
from masterworker.words.errors import ConnectionLost, Unavailable
from masterworker.words.model import Ledger, Task
from masterworker.zookeeper.ledgers import write_aside
from masterworker.zookeeper.operations import Create, Delete, Operation
from masterworker.zookeeper.session import Session
from tests.model.session import ModelSession
from tests.model.store import Replica, Store, Tree
from tests.unit import strategies  # noqa: F401 - sets the profile


class World:
    """A client with its account, whose folder is open, and a master that writes there too."""

    def __init__(self) -> None:
        self.store = Store(replicas=2)
        self.lagging = self.store.replicas[1]
        """A server that has not heard of anything yet."""
        self.lagging.lagging = True
        self.store.witnesses.append(self._see)
        self.tasks: list[str] = []
        """The tasks created, as often as they were."""
        self._master = self.store.new_session()
        self.session = self.new_session(self.store.replicas[0])
        self.session.ensure_tree()
        self.account = Account(lambda _settled: None)
        self.pump()

    def _see(self, _: int, operations: Sequence[Operation], __: Tree, ___: Tree) -> None:
        created = [one.path for one in operations if isinstance(one, Create)]
        self.tasks += [path for path in created if path.startswith(f"{paths.TASKS}/")]

    def new_session(self, replica: Replica) -> ModelSession:
        session = ModelSession(self.store, threading.Event(), replica=replica)
        session.start()
        return session

    def pump(self) -> None:
        self.account.pump(cast("Session", self.session))

    def send(self, batches: int) -> None:
        """Send so many batches, and wait for no answer."""
        for _ in range(batches):
            self.account._send(cast("Session", self.session))

    def finish(self) -> None:
        """Pump until nothing is left to be written."""
        while self.account.busy:
            try:
                self.pump()
            except ConnectionLost:
                self.account.doubt()

    def reconnect(self, arriving: int) -> list[Sequence[Operation]]:
        """Break the connection and make another; see ModelSession.cut."""
        late = self.session.cut(arriving)
        self.session.connect(self.session.replica)
        return late

    def arrive(self, late: Sequence[Operation]) -> bool:
        """A write of a broken connection comes in; whether it changes anything."""
        return self.store.commit(self.session.identity, late) is None

    def rule(self, operations: Sequence[Operation]) -> None:
        """The master writes."""
        assert self.store.commit(self._master, operations) is None

    def expire_one(self) -> None:
        """Do as the master does when it removes an old status."""
        folder, ledger = self.account.folder, self.ledger
        version = self.store.tree[folder].version
        self.rule(write_aside(folder, replace(ledger, expired=ledger.expired + 1), version))

    @property
    def ledger(self) -> Ledger:
        return records.decode_ledger(self.store.tree[self.account.folder].data)

    def check_books(self, submitted: int) -> None:
        """Each task was created exactly once, and the ledger counts them."""
        assert sorted(self.tasks) == sorted(set(self.tasks))
        assert len(self.tasks) == submitted
        assert self.ledger.accepted == submitted


def submit(account: Account, count: int, first: int = 1) -> list[TaskFuture]:
    """Put tasks into the account, each too large for two to share a batch."""
    futures = []
    for number in range(first, first + count):
        name = paths.task_id(account.client, number)
        payload = b"x" * (limits.BATCH_BYTES // 2 + 1)
        create = Create(paths.task(name), records.encode_task(Task(name, "echo"), payload))
        futures.append(TaskFuture(name))
        account.submissions.append(Submission(number, create, futures[-1]))
    return futures


def test_a_write_of_the_masters_between_batches_costs_nothing() -> None:
    """No batch takes the version the master made for its predecessor's, which was refused."""
    world = World()
    submit(world.account, 1)
    world.finish()
    submit(world.account, 3, first=2)
    world.send(3)
    world.expire_one()
    world.finish()
    world.check_books(submitted=4)
    assert world.ledger.expired == 1


def test_late_requests_of_a_broken_connection_change_nothing() -> None:
    """Batches whose replies were lost and that arrive after the books were read are refused."""
    world = World()
    submit(world.account, 4)
    world.send(4)
    late = world.reconnect(arriving=0)
    assert len(late) == 4
    with pytest.raises(ConnectionLost):
        world.pump()
    world.account.doubt()
    world.pump()  # reads the books, writes them anew, sends again
    assert not any(map(world.arrive, late))
    world.finish()
    world.check_books(submitted=4)


def test_batches_unknown_when_the_books_were_closed_are_given_up() -> None:
    """Nothing is submitted again whose fate no ledger can tell; the futures say so."""
    world = World()
    (future,) = submit(world.account, 1)
    world.send(1)
    world.reconnect(arriving=1)
    world.account.doubt()
    world.rule([Delete(world.account.folder)])  # long after: it retires the balanced books
    world.finish()
    with pytest.raises(Unavailable, match="not known"):
        future.result(timeout=0)
    assert len(world.tasks) == 1


def test_a_server_that_lags_behind_closes_no_books() -> None:
    """That the folder is not to be seen there proves nothing: only making it does."""
    world = World()
    (future,) = submit(world.account, 1)
    world.send(1)
    world.session.cut(arriving=1)
    world.account.doubt()
    world.session = world.new_session(world.lagging)
    world.finish()
    assert world.account.openings == 1
    assert not future.done()
    world.check_books(submitted=1)


EVENTS = st.sampled_from(["pump", "submit", "expire", "late"]) | st.integers(0, 3)


@given(events=st.lists(EVENTS, max_size=40))
def test_every_task_is_accepted_once_whatever_happens(events: list[str | int]) -> None:
    """Under lost requests, lost replies and other writers, no task is lost or submitted twice.

    A number breaks the connection, and so many of the requests under way arrive; others come late.
    """
    world = World()
    futures: list[TaskFuture] = []
    late: list[Sequence[Operation]] = []
    for event in events:
        match event:
            case int(arriving):
                late += world.reconnect(arriving)
            case "submit":
                futures += submit(world.account, 2, first=len(futures) + 1)
            case "expire" if world.ledger.unsettled > 0:
                world.expire_one()
            case "late" if late:
                world.arrive(late.pop(0))
            case "pump":
                try:
                    world.pump()
                except ConnectionLost:
                    world.account.doubt()
    world.finish()
    world.check_books(submitted=len(futures))
    assert not any(future.done() for future in futures), "an accepted task was taken for refused"
