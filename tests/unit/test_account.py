"""A client's account on a small tree in memory: replies get lost, requests come late, others write.

The tree stands in for our own narrow session, not for ZooKeeper: integration tests do the same
through a proxy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from masterworker.zookeeper.operations import (
    Code,
    Create,
    Delete,
    Operation,
    Refusal,
    Set,
    Znode,
)
from masterworker.zookeeper.session import Session
from tests.unit import strategies  # noqa: F401 - sets the profile


@dataclass
class Tree:
    """Znodes with data and version. Requests sent while `held` wait in the network."""

    znodes: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    me: tuple[str, ...] = ()
    network: deque[Request] = field(default_factory=deque)
    held: bool = False
    lagging: int = 0
    """How many reads still come to a server that does not know of anything yet."""

    def get(self, path: str) -> Znode | None:
        if self.lagging:
            self.lagging -= 1
            return None
        found = self.znodes.get(path)
        return None if found is None else Znode(found[0], found[1], 0, 0, 0, 0, 0)

    def commit(self, operations: Sequence[Operation]) -> Request:
        request = Request(self, list(operations))
        self.network.append(request)
        if not self.held:
            self.deliver()
        return request

    def deliver(self) -> None:
        """Carry out what waits in the network, in its order."""
        while self.network:
            self.network.popleft().carry_out()

    def break_connection(self) -> None:
        """Nobody is answered any more; what is in the network may arrive yet."""
        for request in self.network:
            request.lost = True

    def apply(self, operations: Sequence[Operation]) -> Refusal | None:
        after = dict(self.znodes)
        for index, operation in enumerate(operations):
            code = _apply(operation, after)
            if code is not None:
                return Refusal(index, code)
        self.created += [one.path for one in operations if isinstance(one, Create)]
        self.znodes = after
        return None

    def ledger(self, folder: str) -> Ledger:
        return records.decode_ledger(self.znodes[folder][0])


def _apply(operation: Operation, znodes: dict[str, tuple[bytes, int]]) -> Code | None:
    found = znodes.get(operation.path)
    if isinstance(operation, Create):
        if found is not None:
            return Code.NODE_EXISTS
        znodes[operation.path] = (operation.data, 0)
        return None
    if found is None:
        return Code.NO_NODE
    if operation.version not in (-1, found[1]):
        return Code.BAD_VERSION
    if isinstance(operation, Delete):
        del znodes[operation.path]
    elif isinstance(operation, Set):
        znodes[operation.path] = (operation.data, found[1] + 1)
    return None


@dataclass
class Request:
    """A commit on its way; the Verdict of our session."""

    tree: Tree
    operations: list[Operation]
    lost: bool = False
    refusal: Refusal | None = None

    def carry_out(self) -> None:
        self.refusal = self.tree.apply(self.operations)

    def wait(self) -> Refusal | None:
        if self.lost:
            raise ConnectionLost("the reply was lost")
        if self in self.tree.network:
            self.tree.deliver()
        return self.refusal


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


def pump(account: Account, tree: Tree) -> None:
    account.pump(cast("Session", tree))


def finish(account: Account, tree: Tree) -> None:
    """Pump until nothing is left to be written."""
    tree.held = False
    while account.busy:
        try:
            pump(account, tree)
        except ConnectionLost:
            account.doubt()


def new_account(tree: Tree) -> Account:
    """An account whose folder is open."""
    account = Account(lambda _settled: None)
    pump(account, tree)
    return account


def check_books(account: Account, tree: Tree, submitted: int) -> None:
    """Each task was created exactly once, and the ledger counts them."""
    tasks = [path for path in tree.created if path.startswith(paths.TASKS)]
    assert sorted(tasks) == sorted(set(tasks))
    assert len(tasks) == submitted
    assert tree.ledger(account.folder).accepted == submitted


def expire_one(tree: Tree, folder: str) -> None:
    """Do as the master does when it removes an old status."""
    data, version = tree.znodes[folder]
    ledger = records.decode_ledger(data)
    booked = write_aside(folder, replace(ledger, expired=ledger.expired + 1), version)
    assert tree.apply(booked) is None


def test_a_write_of_the_masters_between_batches_costs_nothing() -> None:
    """No batch takes the version the master made for its predecessor's, which was refused."""
    tree = Tree()
    account = new_account(tree)
    submit(account, 1)
    finish(account, tree)
    tree.held = True
    submit(account, 3, first=2)
    for _ in range(3):  # all three are under way before any is answered
        account._send(cast("Session", tree))
    expire_one(tree, account.folder)
    finish(account, tree)
    check_books(account, tree, submitted=4)
    assert tree.ledger(account.folder).expired == 1


def test_late_requests_of_a_broken_connection_change_nothing() -> None:
    """Batches whose replies were lost and that arrive after the books were read are refused."""
    tree = Tree()
    account = new_account(tree)
    tree.held = True
    submit(account, 4)
    for _ in range(4):
        account._send(cast("Session", tree))
    tree.break_connection()
    late = list(tree.network)
    tree.network.clear()
    with pytest.raises(ConnectionLost):
        pump(account, tree)
    account.doubt()
    tree.held = False
    pump(account, tree)  # reads the books, writes them anew, sends again
    for request in late:
        request.carry_out()
        assert request.refusal is not None
    finish(account, tree)
    check_books(account, tree, submitted=4)


def test_batches_unknown_when_the_books_were_closed_are_given_up() -> None:
    """Nothing is submitted again whose fate no ledger can tell; the futures say so."""
    tree = Tree()
    account = new_account(tree)
    tree.held = True
    (future,) = submit(account, 1)
    account._send(cast("Session", tree))
    tree.break_connection()
    tree.deliver()  # it was accepted
    account.doubt()
    del tree.znodes[account.folder]  # long after, the master retired the balanced books
    finish(account, tree)
    with pytest.raises(Unavailable, match="not known"):
        future.result(timeout=0)
    assert len([path for path in tree.created if path.startswith(paths.TASKS)]) == 1


def test_a_server_that_lags_behind_closes_no_books() -> None:
    """That the folder is not to be seen there proves nothing: only making it does."""
    tree = Tree()
    account = new_account(tree)
    tree.held = True
    (future,) = submit(account, 1)
    account._send(cast("Session", tree))
    tree.break_connection()
    tree.deliver()
    account.doubt()
    tree.lagging = 1
    finish(account, tree)
    assert not future.done()
    check_books(account, tree, submitted=1)


@given(
    events=st.lists(
        st.sampled_from(["pump", "hold", "break", "drop", "expire", "submit"]), max_size=40
    )
)
def test_every_task_is_accepted_once_whatever_happens(events: list[str]) -> None:
    """Under lost requests, lost replies and other writers, no task is lost or submitted twice."""
    tree = Tree()
    account = new_account(tree)
    submitted = 0
    for event in events:
        if event == "submit":
            submit(account, 2, first=submitted + 1)
            submitted += 2
        elif event == "hold":
            tree.held = True
        elif event == "break":
            tree.break_connection()
            tree.deliver()
            tree.held = False
        elif event == "drop":
            tree.break_connection()
            tree.network.clear()
            tree.held = False
        elif event == "expire":
            if tree.ledger(account.folder).unsettled > 0:
                expire_one(tree, account.folder)
        else:
            try:
                pump(account, tree)
            except ConnectionLost:
                account.doubt()
    finish(account, tree)
    check_books(account, tree, submitted)
