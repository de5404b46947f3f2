"""The primary's removals, and their record in the ledgers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import ACL, ANYONE_ID_UNSAFE, Permissions

from masterworker.words import records
from masterworker.words.model import Ledger, State, Status, Task, Worker
from masterworker.zookeeper.cleaner import Cleaner
from masterworker.zookeeper.operations import Code, Delete, Names, Unreadable
from masterworker.zookeeper.replies import Reply
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import Survey
from tests.integration.book_protocol import BookWorker, book_client
from tests.integration.running import (
    audit,
    books,
    client,
    client_of,
    cluster,
    master,
    session,
    tree,
)
from tests.waiting import eventually

GONE = "0123456789abcdef"  # a client that is gone
DONE = records.encode_status(Status(State.DONE, "echo"), b"result")


def retired(kazoo: KazooClient) -> Ledger:
    """The sum of the ledgers of clients that are gone."""
    return records.decode_ledger(kazoo.get("/status")[0])


def leave_statuses(kazoo: KazooClient, count: int, client_id: str = GONE) -> None:
    """Make the folder of a client that has `count` unread statuses."""
    kazoo.create(f"/status/{client_id}", records.encode_ledger(Ledger(accepted=count)))
    for number in range(1, count + 1):
        kazoo.create(f"/status/{client_id}/{number}", DONE)


def test_unread_statuses_expire_and_are_booked(hosts: str) -> None:
    """Statuses not taken are removed after --status-ttl; the ledgers say how many."""
    submitter = client(hosts)
    futures = submitter.submit_many([b"x"] * 300, executor="echo")
    submitter.close()
    client_id = client_of(futures[0].task_id)
    with tree(hosts) as kazoo:
        with cluster(hosts):
            eventually(lambda: audit(hosts).finished == 300, what="all tasks are finished")
        with master(hosts, status_ttl=0.3):
            eventually(lambda: books(kazoo, client_id).expired == 300, what="they expired")
        assert kazoo.get_children(f"/status/{client_id}") == []
    report = audit(hosts)
    assert (report.ok, report.accepted, report.expired, report.finished) == (True, 300, 300, 0)


def test_statuses_of_the_books_clients_expire(hosts: str) -> None:
    """A plain status that is not taken is removed after --status-ttl."""
    with tree(hosts) as kazoo, book_client(hosts) as theirs:
        with master(hosts), BookWorker(hosts):
            name = theirs.submit(b"x")
            eventually(lambda: kazoo.exists(f"/status/{name}"), what="the task is finished")
        with master(hosts, status_ttl=0.3):
            eventually(lambda: not kazoo.exists(f"/status/{name}"), what="its status is removed")
        assert theirs.submit(b"y") != name
        assert audit(hosts).ok


def test_statuses_of_an_active_client_stay(hosts: str) -> None:
    """While a client's folder changes, nothing in it expires; once it is quiet, it does."""
    now = 0.0
    with session(hosts) as ours, tree(hosts) as kazoo:
        leave_statuses(kazoo, 3)
        cleaner = Cleaner(
            ours, Survey(ours), 0, status_ttl=10, folder_ttl=1e9, grace=1, clock=lambda: now
        )
        cleaner.sweep()
        for accepted in range(4, 10):
            now += 9.0
            kazoo.set(f"/status/{GONE}", records.encode_ledger(Ledger(accepted=accepted)))
            cleaner.sweep()
            assert len(kazoo.get_children(f"/status/{GONE}")) == 3
        now += 9.0
        cleaner.sweep()
        assert len(kazoo.get_children(f"/status/{GONE}")) == 3
        now += 1.0
        cleaner.sweep()
        assert kazoo.get_children(f"/status/{GONE}") == []
        assert books(kazoo, GONE).expired == 3


def test_settled_folder_is_retired_into_the_sum(hosts: str) -> None:
    """The balanced folder of a client that left is removed; the audit still counts its tasks."""
    with tree(hosts) as kazoo:
        with cluster(hosts):
            for _ in range(2):
                with client(hosts) as submitter:
                    assert list(submitter.map("echo", [b"x"] * 50, timeout=20)) == [b"x"] * 50
        assert len(kazoo.get_children("/status")) == 2
        with master(hosts, folder_ttl=0.3):
            eventually(lambda: kazoo.get_children("/status") == [], what="both are retired")
        assert (retired(kazoo).accepted, retired(kazoo).taken) == (100, 100)
    report = audit(hosts)
    assert (report.ok, report.accepted, report.taken) == (True, 100, 100)


def test_open_folder_is_never_retired(hosts: str) -> None:
    """A client that is silent while its task is pending keeps its folder and gets its result."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        future = submitter.submit(b"x", executor="echo")
        submitter.flush(20)
        with master(hosts, folder_ttl=0.3, status_ttl=0.3):
            leave_statuses(kazoo, 0)
            # The other folder is retired: so the master has looked at this one often enough.
            eventually(lambda: not kazoo.exists(f"/status/{GONE}"), what="the other is retired")
        assert kazoo.get_children("/status") == [client_of(future.task_id)]
        with cluster(hosts):  # of patience: a result may lie for longer than the other waited
            assert future.result(20) == b"x"


def test_client_idle_past_its_folder_goes_on(hosts: str) -> None:
    """A client whose folder was retired opens a new one when it submits again."""
    with cluster(hosts, folder_ttl=0.3), tree(hosts) as kazoo, client(hosts) as submitter:
        for round_number in range(2):
            futures = submitter.submit_many([b"x"] * 20, executor="echo")
            assert [future.result(20) for future in futures] == [b"x"] * 20
            eventually(lambda: kazoo.get_children("/status") == [], what="its folder is retired")
            assert retired(kazoo).taken == 20 * (round_number + 1)
        assert audit(hosts).ok


def test_tasks_are_assigned_while_a_sweep_goes_on(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of many folders is cut into steps, and the primary assigns between them."""
    count = 100
    calls: list[bool] = []  # of each step: whether the task was assigned before it
    with tree(hosts) as kazoo:
        for number in range(count):
            leave_statuses(kazoo, 0, f"{number:016x}")
        kazoo.create("/assign/w")
        kazoo.create("/workers/w", records.encode_worker(Worker({"echo": True}, 1, 1)))
        task = Task(f"{GONE}-1", "echo")
        step = Cleaner.work

        def work(cleaner: Cleaner, seconds: float, is_urgent: Callable[[], bool]) -> bool:
            if len(calls) == 3:
                kazoo.create(f"/tasks/{task.id}", records.encode_task(task, b"x"))
            calls.append(kazoo.exists(f"/assign/w/{task.id}") is not None)
            return step(cleaner, seconds, is_urgent)

        monkeypatch.setattr(Cleaner, "work", work)
        monkeypatch.setattr("masterworker.zookeeper.cleaner.READ_TOGETHER", 1)
        monkeypatch.setattr("masterworker.roles.master.SWEEP_SLICE", 0.0)
        with master(hosts):
            eventually(lambda: len(calls) > count, what="the sweep is done")
    assert calls.index(True) < count


def test_many_folders_are_listed_in_one_request(hosts: str) -> None:
    """Each has its names, or none if it is missing; one that is closed does not hide the others."""
    with session(hosts) as ours, tree(hosts) as kazoo:
        leave_statuses(kazoo, 3)
        leave_statuses(kazoo, 0, "f" * 16)
        kazoo.create("/status/closed", acl=[ACL(Permissions.WRITE, ANYONE_ID_UNSAFE)])
        folders = [f"/status/{GONE}", "/status/none", f"/status/{'f' * 16}", "/status/closed"]
        some, missing, empty, closed = ours.list_together(folders)
    assert isinstance(some, list)
    assert (sorted(some), missing, empty) == (["1", "2", "3"], None, [])
    assert closed == Unreadable(Code.NO_AUTH)


def test_folder_of_a_lost_worker_is_removed(hosts: str) -> None:
    """The empty folder of a worker that is gone goes after a grace; others stay."""
    now = time.monotonic()
    with session(hosts) as ours, tree(hosts) as kazoo, BookWorker(hosts) as alive:
        kazoo.create("/assign/lost")
        kazoo.create("/assign/holding")
        kazoo.create("/assign/holding/task-1", b"x")
        survey = Survey(ours)
        cleaner = Cleaner(
            ours, survey, 0, status_ttl=1e9, folder_ttl=1e9, grace=10.0, clock=lambda: now
        )
        survey.refresh()
        cleaner.mend_folders()
        now += 9.9
        cleaner.mend_folders()
        assert sorted(kazoo.get_children("/assign")) == sorted(["holding", "lost", alive.name])
        now += 0.2
        cleaner.mend_folders()
        assert sorted(kazoo.get_children("/assign")) == sorted(["holding", alive.name])


class Vanishing(Session):
    """A session that finds a folder of assignments gone whenever it comes to list it."""

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        if path == "/assign/vanishing":
            self.commit([Delete(path)]).wait()
        return super().children(path, watch)


def test_folder_that_vanishes_while_it_is_read(hosts: str) -> None:
    """A folder is removed between the list of folders and its own: what else there is, is read."""
    with tree(hosts) as kazoo:
        kazoo.create("/assign/vanishing")
        kazoo.create("/assign/lost")
        kazoo.create("/assign/lost/task-1", b"x")
        vanishing = Vanishing(hosts, timeout=10.0)
        vanishing.start()
        survey = Survey(vanishing)
        survey.refresh()
        assert kazoo.get_children("/assign") == ["lost"]
        assert {name: list(tasks) for name, tasks in survey.assigned.items()} == {
            "lost": ["task-1"],
            "vanishing": [],
        }

        def known() -> list[str]:
            survey.refresh()
            return list(survey.assigned)

        eventually(lambda: known() == ["lost"], what="the watch has told of it")
        vanishing.close()


class Closing(Session):
    """A session that finds a client's folder closed whenever it comes to list it."""

    def list_together(self, names: Sequence[str]) -> list[Names]:
        closed = ACL(Permissions.ALL & ~Permissions.READ, ANYONE_ID_UNSAFE)
        self._kazoo.set_acls(f"/status/{GONE}", [closed])
        return super().list_together(names)


def test_folder_that_is_closed_while_it_is_judged(hosts: str) -> None:
    """A client that closes its folder at the worst moment keeps it, and does not end the primary;
    what else there is, is removed."""
    now = 0.0
    with tree(hosts) as kazoo:
        leave_statuses(kazoo, 1)
        leave_statuses(kazoo, 1, "f" * 16)
        closing = Closing(hosts, timeout=10.0)
        closing.start()
        survey = Survey(closing)
        cleaner = Cleaner(
            closing, survey, 0, status_ttl=1, folder_ttl=1e9, grace=1, clock=lambda: now
        )
        cleaner.sweep()
        now = 10.0
        cleaner.sweep()
        closing.close()
        assert kazoo.exists(f"/status/{GONE}/1")
        assert not kazoo.exists(f"/status/{'f' * 16}/1")


def test_registered_worker_without_a_folder_gets_one(hosts: str) -> None:
    """A worker whose folder was lost is given a new one, and its tasks."""
    with master(hosts), tree(hosts) as kazoo, book_client(hosts) as theirs:
        kazoo.create("/workers/bare", b"Idle", ephemeral=True)
        name = theirs.submit(b"x")
        eventually(lambda: kazoo.exists(f"/assign/bare/{name}"), what="the task is assigned")


def test_housekeeping_of_an_old_epoch_changes_nothing(hosts: str) -> None:
    """A primary that was replaced removes nothing any more; the current one does."""
    now = 0.0

    def clean(cleaner: Cleaner) -> None:
        cleaner.sweep()
        cleaner.mend_folders()

    with session(hosts) as ours, tree(hosts) as kazoo:
        leave_statuses(kazoo, 3)
        kazoo.create("/assign/lost")
        survey = Survey(ours)
        survey.refresh()
        old, new = (
            Cleaner(ours, survey, epoch, status_ttl=1, folder_ttl=1, grace=1, clock=lambda: now)
            for epoch in (0, 1)
        )
        clean(old)
        clean(new)
        kazoo.set("/epoch", b"", version=0)
        now = 10.0
        clean(old)
        assert len(kazoo.get_children(f"/status/{GONE}")) == 3
        assert kazoo.get_children("/assign") == ["lost"]
        clean(new)
        assert kazoo.get_children(f"/status/{GONE}") == []
        assert kazoo.get_children("/assign") == []
