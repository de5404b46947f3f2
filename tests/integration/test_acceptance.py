"""One task for each submission, whatever is lost between the client and ZooKeeper."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from masterworker import (
    MasterworkerError,
    TaskFuture,
)
from masterworker.roles.account import Account, Submission
from masterworker.words import limits, paths, records
from masterworker.words.errors import ConnectionLost, SessionLost
from masterworker.words.model import Task
from masterworker.zookeeper.operations import Create, Operation, Refusal
from masterworker.zookeeper.replies import Verdict
from masterworker.zookeeper.session import Session
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import (
    Tally,
    books,
    client,
    client_of,
    cluster,
    master,
    session,
    tree,
    wait_until_settled,
    worker,
)
from tests.waiting import eventually


def numbers(count: int) -> list[bytes]:
    """Payloads that all differ."""
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("lost", ["reply", "request"])
def test_lost_submission_is_one_task(hosts: str, chroot: str, proxy: Proxy, lost: str) -> None:
    """The reply, or the request, of a submission is lost: the task is accepted and run once."""
    tally = Tally()
    with cluster(hosts, tally.executor), tree(hosts) as kazoo:
        drop = proxy.drop_reply if lost == "reply" else proxy.drop_request
        rule = drop(Op.MULTI, containing=b"/tasks/")
        with client(proxy.hosts(chroot)) as submitter:
            futures = submitter.submit_many(numbers(100), executor="tally")
            proxy.wait_for(rule)
            assert [future.result(20) for future in futures] == numbers(100)
            wait_until_settled(kazoo, client_of(futures[0].task_id), 100)
    assert tally.by_payload == dict.fromkeys(numbers(100), 1)


@pytest.mark.parametrize("lost", ["reply", "request"])
def test_every_third_write_is_lost(hosts: str, chroot: str, proxy: Proxy, lost: str) -> None:
    """A thousand submissions over a connection that breaks at every third write: each runs once."""
    tally = Tally()
    drop = proxy.drop_reply if lost == "reply" else proxy.drop_request
    rules = [drop(Op.MULTI, nth) for nth in range(3, 300, 3)]
    with (
        cluster(hosts, tally.executor),
        client(proxy.hosts(chroot)) as submitter,
        tree(hosts) as kazoo,
    ):
        futures = []
        for start in range(0, 1_000, 50):
            part = numbers(1_000)[start : start + 50]
            futures += submitter.submit_many(part, executor="tally")
            submitter.flush(20)
        assert [future.result(30) for future in futures] == numbers(1_000)
        wait_until_settled(kazoo, client_of(futures[0].task_id), 1_000)
    assert sum(rule.struck.is_set() for rule in rules) >= 6
    assert tally.by_payload == dict.fromkeys(numbers(1_000), 1)


class NoVerdict(Verdict):
    """The verdict on a commit whose connection broke."""

    def __init__(self) -> None:
        pass

    def wait(self) -> Refusal | None:
        raise ConnectionLost("the connection broke")


class SlowNetwork(Session):
    """A session whose first `slow` commits do not arrive, but for the last, which arrives late.

    It arrives just before the commit number `late`.
    """

    slow = 1
    late = 0
    commits = 0
    on_its_way: Sequence[Operation] = ()

    def commit(self, operations: Sequence[Operation]) -> Verdict:
        self.commits += 1
        if self.commits <= self.slow:
            self.on_its_way = operations
            return NoVerdict()
        if self.commits == self.late:
            super().commit(self.on_its_way).wait()
        return super().commit(operations)


def submission(account: Account, number: int) -> Submission:
    """A task for `echo`, ready to be submitted through an account."""
    task = Task(paths.task_id(account.client, number), "echo")
    create = Create(paths.task(task.id), records.encode_task(task, b""))
    return Submission(number, create, TaskFuture(task.id))


def settle(account: Account, session: Session) -> None:
    """Pump until nothing is left to do, as the client's thread does."""
    while account.busy:
        try:
            account.pump(session)
        except ConnectionLost:
            account.doubt()


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize("batches", [1, 2])
def test_late_batch_is_not_mistaken_for_another(hosts: str, batches: int, after: int) -> None:
    """A batch believed lost arrives after the ledger was read: each task is accepted once."""
    settled: list[int] = []
    account = Account(lambda batch: settled.extend(each.number for each in batch))
    count = batches * limits.BATCH_COUNT - 10  # so that there is room for one more in the last
    with session(hosts) as ours, tree(hosts) as kazoo:
        account.pump(ours)
        slow = SlowNetwork(hosts, timeout=10.0)
        slow.slow, slow.late = batches, batches + after
        slow.start()
        account.submissions.extend(submission(account, number + 1) for number in range(count))
        with pytest.raises(ConnectionLost):
            account.pump(slow)
        assert slow.commits == batches
        account.doubt()
        account.submissions.append(submission(account, count + 1))
        settle(account, slow)
        slow.close()
        every = range(1, count + 2)
        assert sorted(settled) == list(every)
        assert set(kazoo.get_children("/tasks")) == {f"{account.client}-{n}" for n in every}
        assert books(kazoo, account.client).accepted == count + 1


def test_submission_survives_a_session_lost_before_it_is_sent(hosts: str) -> None:
    """A session ends just as a batch is to be sent in it: the next session sends it."""
    settled: list[int] = []
    account = Account(lambda batch: settled.extend(each.number for each in batch))
    with session(hosts) as first, session(hosts) as second:
        first.ensure_tree()
        account.pump(first)
        account.submissions.append(submission(account, 1))
        first.abandon("the test wants it so")
        with pytest.raises(SessionLost):
            account.pump(first)
        account.doubt()
        settle(account, second)
    assert settled == [1]


def test_status_not_understood_is_left_alone(hosts: str) -> None:
    """A status of a newer format fails its future and stays, for a program that can read it."""
    newer = records.MARK + bytes([records.FORMAT + 1]) + b"s\0\0result"
    with client(hosts) as submitter, tree(hosts) as kazoo:
        future = submitter.submit(b"x", executor="echo")
        submitter.flush(20)
        status = paths.status(future.task_id)
        with kazoo.transaction() as move:
            move.delete(paths.task(future.task_id))
            move.create(status, newer)
        with pytest.raises(MasterworkerError, match="Upgrade"):
            future.result(20)
        another = submitter.submit(b"y", executor="echo")
        with master(hosts), worker(hosts):
            assert another.result(20) == b"y"
        eventually(lambda: books(kazoo, client_of(future.task_id)).taken == 1)
        assert kazoo.get(status)[0] == newer


def test_lost_read_of_assignments_strands_no_task(hosts: str, chroot: str, proxy: Proxy) -> None:
    """The worker's connection breaks while it reads its assignments: all of them are run."""
    rule = proxy.drop_reply(Op.MULTI_READ, nth=2, containing=b"/assign/")
    with client(hosts) as submitter:
        futures = submitter.submit_many(numbers(200), executor="echo")
        submitter.flush(20)
        with worker(proxy.hosts(chroot)), master(hosts):
            proxy.wait_for(rule)
            assert [future.result(20) for future in futures] == numbers(200)
