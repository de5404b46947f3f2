"""The audit: no false alarm on a live tree, a report on a broken one, and never a write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from masterworker.dev.processes import Process, masterworker_command
from masterworker.words import paths, records
from masterworker.words.model import State, Status, Worker
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.operations import Create, Delete
from masterworker.zookeeper.replies import Reply
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.tasklist import Wanted
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import (
    audit,
    books,
    client,
    client_of,
    inspection,
    master,
    session,
    tree,
    wait_until_settled,
)

DONE = records.encode_status(Status(State.DONE, "echo"))


def submit_pending(hosts: str, count: int = 40) -> list[str]:
    """Submit tasks while no worker runs, and leave; return their ids."""
    with client(hosts) as submitter:
        futures = submitter.submit_many([b"x"] * count, executor="echo")
        submitter.flush(20)
    return [future.task_id for future in futures]


def worker_process(hosts: str, tmp_path: Path, number: int) -> Process:
    """A worker that can be killed."""
    command = masterworker_command("worker", "--executor", "echo", "--slots", "50")
    return Process(
        f"worker {number}",
        command,
        {"MWCTL_HOSTS": hosts, "MWCTL_SESSION_TIMEOUT": "1.5"},
        log=tmp_path / f"worker-{number}.log",
    )


# --- on a live tree ------------------------------------------------------------------------------


def test_live_tree_raises_no_false_alarm(hosts: str, tmp_path: Path) -> None:
    """Twenty audits during 3,000 tasks, with a worker killed and another started: none lost."""
    with contextlib.ExitStack() as stack:
        kazoo = stack.enter_context(tree(hosts))
        stack.enter_context(master(hosts))
        victim, heir = (worker_process(hosts, tmp_path, number) for number in (1, 2))
        stack.enter_context(victim)
        submitter = stack.enter_context(client(hosts))
        futures = []
        reports = []
        for round_number in range(20):
            futures += submitter.submit_many([b"x"] * 150, executor="echo")
            reports.append(audit(hosts))
            if round_number == 8:
                assert futures[0].result(20) == b"x"
                victim.kill()
                stack.enter_context(heir)
        reports.append(audit(hosts))
        assert [future.result(40) for future in futures] == [b"x"] * 3_000
        wait_until_settled(kazoo, client_of(futures[0].task_id), 3_000)
        reports.append(audit(hosts))
    wrong = [report for report in reports if not report.ok]
    assert wrong == []
    assert any(report.pending + report.assigned for report in reports)  # it was live indeed
    assert (reports[-1].accepted, reports[-1].taken) == (3_000, 3_000)


def test_each_place_is_counted(hosts: str) -> None:
    """Pending, assigned and finished tasks are told apart, and a book client's are counted."""
    with tree(hosts) as kazoo:
        pending = submit_pending(hosts, 6)
        move(kazoo, paths.task(pending[0]), paths.assignment("worker-1", pending[0]))
        move(kazoo, paths.task(pending[1]), paths.assignment("worker-1", pending[1]))
        kazoo.delete(paths.task(pending[2]))
        kazoo.create(paths.status(pending[2]), DONE)
        kazoo.create("/tasks/task-1", b"raw")
        kazoo.create("/status/task-2", b"done")
    report = audit(hosts)
    assert (report.accepted, report.pending, report.assigned, report.finished) == (8, 4, 2, 2)
    assert report.ok


# --- what it finds -------------------------------------------------------------------------------


def move(kazoo: KazooClient, source: str, target: str) -> None:
    """Move a znode, with its data."""
    data, _ = kazoo.get(source)
    kazoo.ensure_path(paths.parent(target))
    kazoo.create(target, data)
    kazoo.delete(source)


def test_task_deleted_by_hand_is_lost(hosts: str) -> None:
    """A pending, an assigned and a finished task vanish: the audit misses each of them."""
    with tree(hosts) as kazoo:
        pending = submit_pending(hosts, 6)
        move(kazoo, paths.task(pending[1]), paths.assignment("worker-1", pending[1]))
        kazoo.delete(paths.task(pending[2]))
        kazoo.create(paths.status(pending[2]), DONE)
        for number, path in enumerate(
            (
                paths.task(pending[0]),
                paths.assignment("worker-1", pending[1]),
                paths.status(pending[2]),
            ),
            start=1,
        ):
            kazoo.delete(path)
            report = audit(hosts)
            assert (report.ok, report.lost) == (False, number)
            assert client_of(pending[0]) in report.findings[0]


def test_ledger_that_claims_more_is_found(hosts: str) -> None:
    """The ledger says that more tasks were accepted than there are."""
    with tree(hosts) as kazoo:
        client_id = client_of(submit_pending(hosts, 6)[0])
        claim = replace(books(kazoo, client_id), accepted=10)
        kazoo.set(f"/status/{client_id}", records.encode_ledger(claim))
    assert audit(hosts).lost == 4


def test_ledger_that_claims_less_is_found(hosts: str) -> None:
    """There are more tasks than the ledger says were accepted: something was recorded twice."""
    with tree(hosts) as kazoo:
        client_id = client_of(submit_pending(hosts, 6)[0])
        claim = replace(books(kazoo, client_id), accepted=5)
        kazoo.set(f"/status/{client_id}", records.encode_ledger(claim))
    report = audit(hosts)
    assert (report.ok, report.lost, report.recorded_twice) == (False, 0, 1)


def test_task_in_two_places_is_found(hosts: str) -> None:
    """One task is pending and assigned, one assigned and finished: both, with their paths."""
    with tree(hosts) as kazoo:
        one, other = submit_pending(hosts, 2)
        kazoo.ensure_path(paths.assignments("worker-1"))
        kazoo.create(paths.assignment("worker-1", one), kazoo.get(paths.task(one))[0])
        move(kazoo, paths.task(other), paths.assignment("worker-1", other))
        kazoo.create(paths.status(other), DONE)
    report = audit(hosts)
    assert (report.ok, report.lost, report.recorded_twice) == (False, 0, 1)
    first, second = sorted(report.findings, key=lambda finding: paths.status(other) in finding)
    assert paths.task(one) in first
    assert paths.assignment("worker-1", one) in first
    assert paths.assignment("worker-1", other) in second


def test_more_assignments_than_slots_are_found(hosts: str) -> None:
    """A registered worker holds more tasks than it has slots."""
    with tree(hosts) as kazoo:
        announcement = records.encode_worker(Worker({"echo": True}, slots=2, process_slots=0))
        kazoo.create("/workers/small", announcement, ephemeral=True)
        for task in submit_pending(hosts, 3):
            move(kazoo, paths.task(task), paths.assignment("small", task))
        assert audit(hosts).findings == ("worker small has 3 tasks but only 2 slots",)


def test_audit_and_inspection_never_write(hosts: str, chroot: str, proxy: Proxy) -> None:
    """Everything they ask, on a tree with something in every place, only reads."""
    with tree(hosts) as kazoo:
        one, other, third = submit_pending(hosts, 3)
        kazoo.ensure_path(paths.assignments("worker-1"))
        kazoo.create(paths.assignment("worker-1", one), kazoo.get(paths.task(one))[0])
        kazoo.delete(paths.task(other))
        kazoo.create(paths.status(other), DONE)
        kazoo.create("/tasks/a b", b"garbage")
        before = kazoo.get_children("/tasks")
        assert not audit(proxy.hosts(chroot)).ok
        with inspection(proxy.hosts(chroot)) as view:
            assert view.status().pending == 3, "two tasks, and the garbage"
            assert {row.id for row in view.tasks(Wanted(), 100).rows()} >= {one, other, third}
            assert view.task(third).state is State.PENDING
            assert view.result(other) == b""
        assert kazoo.get_children("/tasks") == before
    reads = {Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_DATA, Op.EXISTS, Op.MULTI_READ}
    assert set(proxy.counts) <= reads | {Op.SYNC, Op.PING, Op.CLOSE}
    assert proxy.counts[Op.MULTI_READ] > 0


class WorkerComes(Session):
    """A session during which, just after it lists the workers, one comes and is given the task."""

    task = ""

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        reply = super().children(path, watch)
        task, self.task = self.task, ""
        if path == paths.ASSIGN and task:
            self.commit(
                [
                    Create(paths.assignments("new")),
                    Create(paths.assignment("new", task), b"x"),
                    Delete(paths.task(task)),
                ]
            ).wait()
        return reply


def test_task_given_to_a_new_worker_is_not_missed(hosts: str) -> None:
    """A worker that comes while a task is looked for gets that task: it is found all the same."""
    with tree(hosts):
        [task] = submit_pending(hosts, 1)
    opened = WorkerComes(hosts, timeout=10.0)
    opened.start()
    opened.task = task
    view = Inspection(opened).task(task)
    opened.close()
    assert (view.state, view.worker) == (State.ASSIGNED, "new")


def test_places_are_read_at_one_moment(hosts: str, chroot: str, proxy: Proxy) -> None:
    """All the places a task can be in are read in one request, whatever was read before."""
    with tree(hosts), session(proxy.hosts(chroot)) as opened:
        opened.read([paths.MASTER])
        before = proxy.counts[Op.MULTI_READ]
        assert (
            opened.read([paths.assignment(f"worker-{n}", "t") for n in range(300)]) == [None] * 300
        )
        assert proxy.counts[Op.MULTI_READ] == before + 1
