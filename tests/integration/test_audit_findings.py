"""The findings of the audit, kind by kind; transient states are no findings."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl

from masterworker import TaskContext
from masterworker.decisions import audit as judgement
from masterworker.decisions import retry
from masterworker.words import paths, records
from masterworker.words.executor import Executor
from masterworker.words.model import Ledger, Master, State, Status, Task, Worker
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.operations import Create, Delete
from masterworker.zookeeper.replies import Reply
from masterworker.zookeeper.session import Session
from tests.faults.proxy import Proxy
from tests.integration.running import (
    Tally,
    audit,
    client,
    client_of,
    inspection,
    master,
    tree,
    wait_until_settled,
    worker,
)
from tests.waiting import eventually

CLIENT = "0123456789abcdef"
TASK = paths.task_id(CLIENT, 1)
GHOST = records.encode_master(Master("ghost", "host", 1))
OTHER = records.encode_master(Master("other", "host", 1))
WORKER = records.encode_worker(Worker({"echo": True}, slots=2, process_slots=0))
DONE = records.encode_status(Status(State.DONE, "echo"))
NEWER = records.MARK + bytes([records.FORMAT + 1]) + b"w\0\0"

Plant = Callable[[KazooClient], object]


@pytest.fixture
def kazoo(hosts: str) -> Iterator[KazooClient]:
    """A plain client on a tree that has its folders and nothing else."""
    with tree(hosts) as opened:
        yield opened


def take_office(kazoo: KazooClient) -> None:
    """Make `ghost` the primary, as far as the tree goes."""
    kazoo.create("/masters/ghost", GHOST, ephemeral=True)
    kazoo.create("/master", GHOST, ephemeral=True)
    kazoo.set("/epoch", GHOST)


def put(kazoo: KazooClient, *tasks: str, where: Callable[[str], str] = paths.task) -> None:
    """Create tasks of CLIENT, in its ledger and in a place."""
    if not kazoo.exists(paths.statuses(CLIENT)):
        kazoo.create(paths.statuses(CLIENT), records.encode_ledger(Ledger(accepted=len(tasks))))
    for task in tasks:
        kazoo.ensure_path(paths.parent(where(task)))
        kazoo.create(where(task), records.encode_task(Task(task, "echo"), b"x"))


# --- the kinds -----------------------------------------------------------------------------------


def made(path: str, data: bytes = b"", *, ephemeral: bool = False) -> Plant:
    """Plants this znode, with its parents."""

    def plant(kazoo: KazooClient) -> None:
        kazoo.ensure_path(paths.parent(path))
        kazoo.create(path, data, ephemeral=ephemeral)

    return plant


def office_of_another_session(kazoo: KazooClient) -> None:
    """/master outlived the session that made /masters/ghost: no master of ours can do that."""
    take_office(kazoo)
    kazoo.delete("/masters/ghost")
    kazoo.create("/masters/ghost", GHOST)


def unannounced(kazoo: KazooClient) -> None:
    """A primary that is not among the masters."""
    take_office(kazoo)
    kazoo.delete("/masters/ghost")


def epoch_of_another(kazoo: KazooClient) -> None:
    """Two masters' worth of terms."""
    take_office(kazoo)
    kazoo.set("/epoch", OTHER)


def status_with_a_child(kazoo: KazooClient) -> None:
    """A status that can never be taken."""
    kazoo.create(paths.statuses(CLIENT), records.encode_ledger(Ledger(accepted=1)))
    kazoo.create(paths.status(TASK), DONE)
    kazoo.create(f"{paths.status(TASK)}/child")


def hide(path: str) -> Plant:
    """Sets an ACL that denies reading."""
    acl = [make_acl("world", "anyone", create=True, delete=True, admin=True, write=True)]
    return lambda kazoo: kazoo.set_acls(path, acl)


FOUND: dict[str, tuple[Plant, str]] = {
    "a primary that is not announced": (
        unannounced,
        "/master names ghost, but /masters/ghost does not exist",
    ),
    "an office with two sessions": (office_of_another_session, "belong to different sessions"),
    "an epoch of another master": (epoch_of_another, "/master names ghost, but /epoch names other"),
    "an office that never ends": (made("/master", GHOST), "/master is not ephemeral"),
    "a worker that never ends": (made("/workers/w", WORKER), "/workers/w is not ephemeral"),
    "a worker of a newer format": (
        made("/workers/w", NEWER, ephemeral=True),
        f"/workers/w: the record has format version {records.FORMAT + 1}",
    ),
    "something below the epoch": (made("/epoch/x"), "/epoch: it has 1 children"),
    "an unreadable epoch": (hide("/epoch"), "/epoch: it cannot be read"),
    "something below a worker": (made("/workers/w/x"), "/workers/w: it has 1 children"),
    "something below a wish": (made(f"/cancel/{TASK}/x"), f"/cancel/{TASK}: it has 1 children"),
    "a wish with a strange name": (made("/cancel/a b"), "/cancel/a b: its name is not one that"),
    "a status that cannot be taken": (status_with_a_child, f"{paths.status(TASK)}: it has 1"),
    "something below a plain status": (made("/status/task-1/x"), "/status/task-1: it has 1"),
    "a folder that is missing": (lambda kazoo: kazoo.delete("/cancel"), "/cancel is missing"),
    "a task whose client has no ledger": (
        made(paths.task(TASK), records.encode_task(Task(TASK, "echo"), b"")),
        f"client {CLIENT} has 1 tasks but no ledger",
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_each_kind_is_found(hosts: str, kazoo: KazooClient, kind: str) -> None:
    """The tree is sound, one thing is done to it, and the audit names it."""
    assert audit(hosts).ok
    plant, words = FOUND[kind]
    plant(kazoo)
    report = audit(hosts)
    assert not report.ok
    assert [finding for finding in report.findings if words in finding], report.findings


# --- what is given its time ----------------------------------------------------------------------


def test_orphans_are_reported_once_they_had_their_time(
    hosts: str, kazoo: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A primary that leaves the tasks of a lost worker where they are is reported."""
    monkeypatch.setattr(judgement, "RECOVERY", 0.3)
    take_office(kazoo)
    put(kazoo, TASK, where=lambda task: paths.assignment("gone", task))
    report = audit(hosts)
    assert (report.findings, report.orphaned) == (
        ("worker gone is dead, but its 1 tasks are not recovered",),
        1,
    )
    kazoo.create("/workers/gone", WORKER, ephemeral=True)
    assert audit(hosts).ok


class Recovering(Session):
    """A session during whose third reading the task of a lost worker is recovered."""

    readings = 0

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        self.readings += path == paths.TASKS
        if path == paths.TASKS and self.readings == 3:
            source, target = paths.assignment("gone", TASK), paths.task(TASK)
            assert self.commit([Create(target, b"x"), Delete(source)]).wait() is None
        return super().children(path, watch)


def test_recovery_under_way_is_no_finding(hosts: str, kazoo: KazooClient) -> None:
    """Orphans that a primary recovers while the audit looks are none of its findings."""
    take_office(kazoo)
    put(kazoo, TASK, where=lambda task: paths.assignment("gone", task))
    recovering = Recovering(hosts)
    recovering.start()
    report = Auditor(recovering).report()
    recovering.close()
    assert (report.findings, report.pending, recovering.readings) == ((), 1, 3)


def test_what_breaks_no_promise_is_a_note(hosts: str, kazoo: KazooClient) -> None:
    """Work waiting for a primary, unused folders, versions that differ: exit code 0."""
    put(kazoo, TASK, where=lambda task: paths.assignment("gone", task))
    kazoo.create("/assign/empty")
    for name, version in (("old", "0.1.0"), ("new", "0.2.0")):
        announced = Worker({"echo": True}, slots=2, process_slots=0, version=version)
        kazoo.create(f"/workers/{name}", records.encode_worker(announced), ephemeral=True)
    report = audit(hosts)
    assert report.ok
    assert report.notes == (
        "1 tasks of dead workers are waiting to be recovered: there is no primary",
        "1 empty folders of dead workers: a primary removes them within a minute",
        "workers run different versions: 1 of 0.1.0, 1 of 0.2.0",
    )


# --- tasks on the move ---------------------------------------------------------------------------


class Driving(Session):
    """A session of which each reading lets ten more attempts be made, and none is made without."""

    def __init__(self, hosts: str) -> None:
        super().__init__(hosts)
        self._attempts = threading.Semaphore(0)

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        if path == paths.TASKS:
            self._attempts.release(10)
        return super().children(path, watch)

    def driven(self, executor: Executor) -> Executor:
        """This executor, whose attempts wait to be let."""

        def run(payload: bytes, task: TaskContext) -> bytes | None:
            self._attempts.acquire(timeout=30)
            return executor.run(payload, task)

        return replace(executor, run=run)


def test_tasks_that_go_back_and_forth_are_not_lost(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Audits one after another, while every task goes back to the queue again and again."""
    monkeypatch.setattr(retry, "LONGEST", 0.02)
    stubborn = Tally(fail_first=8)
    driving = Driving(hosts)
    executor = driving.driven(stubborn.executor)
    reports = []
    with (
        tree(hosts) as kazoo,
        master(hosts),
        worker(hosts, executor, slots=30),
        worker(hosts, executor, slots=30),
        client(hosts) as submitter,
    ):
        futures = submitter.submit_many([b"x"] * 100, executor="tally", attempts=16)
        with inspection(hosts) as view:
            eventually(lambda: sum(view.status().assigned.values()) == 60, what="slots are full")
        driving.start()
        while not all(future.done() for future in futures):
            reports.append(Auditor(driving).report())
        driving.close()
        assert {future.result(0) for future in futures} == {b"x"}
        wait_until_settled(kazoo, client_of(futures[0].task_id), 100)
    assert sum(stubborn.by_task.values()) == 100 * 9
    assert [report.findings for report in reports if not report.ok] == []
    assert reports[0].pending
    assert reports[0].assigned


class Dodged(Session):
    """A session during whose every reading one task is always where it is not looked for just then.

    In the first reading it is the first of `tasks`, later on the second.
    """

    tasks: tuple[str, str]
    readings = 0

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        self.readings += path == paths.TASKS
        dodger = self.tasks[self.readings > 1]
        places = paths.task(dodger), paths.assignment("w", dodger)
        if path == paths.TASKS:
            self._move(*places)
        elif path == paths.assignments("w"):
            self._move(*reversed(places))
        return super().children(path, watch)

    def _move(self, source: str, target: str) -> None:
        assert self.commit([Create(target, b"x"), Delete(source)]).wait() is None


def test_task_seen_once_is_not_missed_again(hosts: str, kazoo: KazooClient) -> None:
    """Each reading misses one of two tasks, and what was seen before is found where it is now."""
    tasks = (TASK, paths.task_id(CLIENT, 2))
    put(kazoo, *tasks)
    kazoo.create("/workers/w", WORKER, ephemeral=True)
    kazoo.create("/assign/w")
    dodged = Dodged(hosts)
    dodged.tasks = tasks
    dodged.start()
    report = Auditor(dodged).report()
    dodged.close()
    assert (report.ok, report.lost, dodged.readings) == (True, 0, 2)


# --- a guest that leaves no trace ----------------------------------------------------------------


def marks(kazoo: KazooClient, path: str = "/") -> dict[str, tuple[int, int, int, int]]:
    """The transaction ids of everything below a path, and the versions."""
    stat = kazoo.exists(path)
    found = {path: (stat.czxid, stat.mzxid, stat.pzxid, stat.aversion)}
    for name in kazoo.get_children(path):
        found |= marks(kazoo, f"{path.rstrip('/')}/{name}")
    return found


def test_audit_changes_nothing(hosts: str, kazoo: KazooClient) -> None:
    """On a quiet tree with many faults, an audit changes no transaction id."""
    for kind in (
        "a primary that is not announced",
        "a worker of a newer format",
        "something below the epoch",
        "something below a wish",
        "a status that cannot be taken",
        "something below a plain status",
    ):
        plant, _ = FOUND[kind]
        plant(kazoo)
    before = marks(kazoo)
    assert len(audit(hosts).findings) == 6
    assert marks(kazoo) == before


def test_requests_and_memory_stay_bounded(hosts: str, chroot: str, proxy: Proxy) -> None:
    """3,000 tasks of 8 kB and 300 settled clients: few requests, and less memory than data."""
    with client(hosts) as submitter, tree(hosts) as kazoo:
        submitter.submit_many([bytes(8_000)] * 3_000, executor="echo")
        submitter.flush(30)
        for number in range(300):
            kazoo.create_async(f"/status/{number:016x}", records.encode_ledger(Ledger(1, 1)))
        eventually(lambda: len(kazoo.get_children("/status")) == 301, what="301 folders")
    before = sum(proxy.counts.values())
    tracemalloc.start()
    try:
        report = audit(proxy.hosts(chroot))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (report.ok, report.pending, report.accepted) == (True, 3_000, 3_300)
    assert sum(proxy.counts.values()) - before < 80
    assert peak < 3_000 * 8_000 * 2 / 3
