"""Damage to the tree under a running cluster, and how the cluster continues."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_acl

from masterworker import TaskFailed
from masterworker.decisions.plan import plan
from masterworker.dev.server import ZooKeeperServer
from masterworker.roles import courier, incarnation
from masterworker.words import paths, records
from masterworker.words.model import State, Status, Task, Worker
from masterworker.zookeeper.cleaner import Cleaner
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import Survey
from masterworker.zookeeper.watched import Listing
from tests.faults.expire import expire
from tests.integration.running import (
    ECHO,
    audit,
    client,
    cluster,
    credentials,
    session,
    tree,
    worker,
)
from tests.waiting import DEADLINE, eventually

READ_ONLY = [make_acl("world", "anyone", read=True)]


def the_worker(kazoo: KazooClient) -> str:
    """The id of the only worker."""
    return str(eventually(lambda: kazoo.get_children("/workers"), what="a worker")[0])


def test_worker_whose_folder_was_removed_begins_anew(hosts: str) -> None:
    """It registers under another id at once, without help."""
    with tree(hosts) as kazoo, worker(hosts):
        before = the_worker(kazoo)
        kazoo.delete(f"/assign/{before}")
        eventually(lambda: kazoo.get_children("/workers") not in ([], [before]), what="a new one")


def test_worker_whose_folder_was_removed_gets_tasks_again(hosts: str) -> None:
    """Either the primary recreates its folder first, or the worker registers again first."""
    with tree(hosts) as kazoo, cluster(hosts), client(hosts) as submitter:
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"
        kazoo.delete(f"/assign/{the_worker(kazoo)}")
        assert submitter.submit(b"y", executor="echo").result(20) == b"y"


def test_worker_whose_folder_was_made_anew_is_given_tasks_at_once(hosts: str) -> None:
    """The primary chose it without knowing that its folder was gone: what refused the task is
    mended, and is no reason to leave the worker aside until the primary looks at everything."""
    task = Task("0" * 16 + "-1", "echo")
    with tree(hosts) as kazoo, session(hosts) as ours:
        kazoo.create("/assign/w")
        kazoo.create("/workers/w", records.encode_worker(Worker({"echo": True}, 4, 0)))
        kazoo.create(f"/tasks/{task.id}", records.encode_task(task, b"x"))
        survey = Survey(ours)
        mover = Mover(ours, survey, 0)
        survey.refresh()
        moves = plan(survey.snapshot(), time.time())
        kazoo.delete("/assign/w")
        assert mover.carry_out(moves).overtaken == 1
        Cleaner(ours, survey, 0, status_ttl=60.0, folder_ttl=60.0, grace=10.0).mend_folders()
        assert ours.wake.wait(DEADLINE), "the watch on the folders fires"

        def assigned() -> bool:
            survey.refresh()
            return mover.carry_out(plan(survey.snapshot(), time.time())).done == 1

        eventually(assigned, what="the task is assigned")
        assert kazoo.get_children("/assign/w") == [task.id]


def test_worker_that_was_unregistered_begins_anew(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells it; it finds out when it looks at everything, and registers again."""
    monkeypatch.setattr(incarnation, "LOOK_INTERVAL", 0.2)
    with tree(hosts) as kazoo, cluster(hosts), client(hosts) as submitter:
        before = the_worker(kazoo)
        kazoo.delete(f"/workers/{before}")
        eventually(lambda: kazoo.get_children("/workers") not in ([], [before]), what="a new one")
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"


def test_folder_that_takes_no_task_costs_no_task(hosts: str) -> None:
    """The tasks chosen for a worker whose folder is closed go to another, none is set aside."""
    bad = Worker({"echo": True}, 9_000, 0)
    with tree(hosts) as kazoo:
        kazoo.create("/assign/bad", acl=READ_ONLY)
        kazoo.create("/workers/bad", records.encode_worker(bad), ephemeral=True)
        with cluster(hosts, ECHO, look_interval=0.3), client(hosts) as submitter:
            assert list(submitter.map("echo", [b"x"] * 50, timeout=20)) == [b"x"] * 50
            assert kazoo.get_children("/tasks") == []


def test_repaired_task_is_assigned_without_a_restart(hosts: str) -> None:
    """Once its access list is mended, the primary finds it by itself."""
    task = Task("0" * 16 + "-1", "echo")
    with tree(hosts) as kazoo:
        kazoo.create("/status/" + "0" * 16)
        path = f"/tasks/{task.id}"
        kazoo.create(
            path, records.encode_task(task, b"x"), acl=[make_acl("world", "anyone", admin=True)]
        )
        with cluster(hosts, ECHO, look_interval=0.2):
            eventually(lambda: audit(hosts).quarantined == 1, what="it is set aside")
            kazoo.set_acls(path, OPEN_ACL_UNSAFE)
            eventually(lambda: not kazoo.exists(path), what="it is assigned")


def test_session_that_expires_does_not_end_a_client_at_work(hosts: str) -> None:
    """An expiry in the middle of a stream of submissions costs none of them."""
    with cluster(hosts), client(hosts) as submitter:
        futures = submitter.submit_many([b"x"] * 3_000, executor="echo")
        expire(hosts.partition("/")[0], *credentials(submitter))
        futures += submitter.submit_many([b"y"] * 1_000, executor="echo")
        assert [future.result(30) for future in futures] == [b"x"] * 3_000 + [b"y"] * 1_000
    assert audit(hosts).ok


def test_client_whose_folder_was_made_anew_hears_of_results(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ledger was removed while it waited: it has a new folder, and a new watch on it."""
    missed = threading.Event()

    class Watched(Listing):
        def read(self) -> list[str] | None:
            names = super().read()
            if names is None:
                missed.set()
            return names

    monkeypatch.setattr(courier, "Listing", Watched)
    with tree(hosts) as kazoo, client(hosts) as submitter:
        gone = submitter.submit(b"x", executor="nobodys")
        submitter.flush(DEADLINE)
        folder = submitter._courier.account.folder
        eventually(lambda: not submitter._courier.account.busy, what="it waits")
        kazoo.delete(paths.task(gone.task_id))
        kazoo.delete(folder)
        assert missed.wait(DEADLINE)
        late = submitter.submit(b"y", executor="nobodys")  # by this it finds out
        with pytest.raises(TaskFailed, match="expired"):
            gone.result(DEADLINE)
        with pytest.raises(TimeoutError):
            late.result(0.5)  # by now it waits for its watch, and for nothing else
        status = records.encode_status(Status(State.DONE, "echo"), b"y")
        kazoo.create(paths.status(late.task_id), status)
        assert late.result(10) == b"y"


def test_nobody_spins_while_zookeeper_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks that fall due without a connection cost neither role any processor time."""
    monkeypatch.setattr(incarnation, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(courier, "LOOK_INTERVAL", 0.05)
    with (
        ZooKeeperServer(tmp_path / "zookeeper") as server,
        tree(server.hosts),
        cluster(server.hosts, ECHO, timeout=2.0, look_interval=0.5),
        client(server.hosts) as submitter,
    ):
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"
        waiting = submitter.submit(b"y", executor="nobodys")
        submitter.flush(20)
        server.kill()
        time.sleep(1.0)  # for the looks to fall due, and the worker to fall silent
        before = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - before < 0.4
        server.restart()
        assert submitter.submit(b"z", executor="echo").result(30) == b"z"
        assert not waiting.done()


def test_reads_of_large_znodes_stay_bounded(hosts: str) -> None:
    """After many small znodes, a stretch of large ones is read in ever smaller requests."""
    with tree(hosts) as kazoo, session(hosts) as ours:
        names = []
        for number in range(60):
            names.append(f"/tasks/small-{number}")
            kazoo.create(names[-1], b"x")
        for number in range(12):
            names.append(f"/tasks/t-{number}")
            kazoo.create(names[-1], b"x" * 900_000)
        assert len(list(ours.read_each(names))) == len(names)
        assert _count(ours) <= 10  # 4 MiB of what the last request brought: half of it was small
        assert len(list(ours.read_each(names[:60]))) == 60
        assert _count(ours) > 60


def _count(session: Session) -> int:
    """How many znodes it would ask for next."""
    return session._read_count
