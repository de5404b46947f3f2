"""Masters as real processes: elected, killed at each step, replaced; and assignment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from masterworker import Client
from masterworker.dev.processes import Process
from masterworker.words import paths, records
from masterworker.words.model import Task
from masterworker.zookeeper.operations import Create, Delete
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.roles import DOOMED, LASTING, PATIENT, Cluster
from tests.waiting import DEADLINE, eventually


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path, PATIENT) as running:
        yield running


def terms(*masters: Process) -> int:
    """How many terms as primary these masters have logged."""
    return sum(master.log.read_text().count("is the primary, epoch") for master in masters)


# --- the office ------------------------------------------------------------------------------


def test_one_of_three_masters_is_primary(cluster: Cluster) -> None:
    """Three start together, one is elected; when it is killed, again exactly one of the rest is."""
    starting = [cluster.master(timeout=DOOMED) for _ in range(3)]
    masters = {master.pid: master for master in starting}
    eventually(lambda: len(cluster.status().masters) == 3, what="three masters are announced")
    eventually(lambda: terms(*masters.values()), what="one has entered office")
    status = cluster.status()
    assert status.primary is not None
    assert status.epoch == terms(*masters.values()) == 1
    masters.pop(status.primary.pid).kill()
    eventually(lambda: cluster.status().epoch == 2, what="a second term")
    successor = cluster.status().primary
    assert successor is not None
    assert successor.pid in masters
    eventually(lambda: terms(*masters.values()) == 1, what="one has entered office")


def test_sigterm_hands_the_office_over_at_once(cluster: Cluster) -> None:
    """A primary asked to stop steps down at once: a backup need not wait for its session."""
    primary = cluster.master()
    cluster.in_office(primary)
    backup = cluster.master()
    eventually(lambda: len(cluster.status().masters) == 2, what="a backup stands by")
    before = time.monotonic()
    primary.terminate()
    assert cluster.in_office(backup) == 2
    assert time.monotonic() - before < PATIENT / 2
    assert primary.wait(DEADLINE) == 0


# --- killed at each step ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        "election.before-commit",
        "election.after-commit",
        "master.in-office",
        "master.planned",
        "master.before-moves",
        "master.after-moves",
    ],
)
def test_primary_killed_while_elected_or_assigning(cluster: Cluster, step: str) -> None:
    """Wherever it dies, the next one assigns what is left, and each task runs once."""
    worker = cluster.worker("brief")
    futures = cluster.client.submit_many([b""] * 8, executor="brief")
    cluster.client.flush(DEADLINE)
    cluster.ready(worker)
    doomed = cluster.master(timeout=DOOMED, failpoint=step)
    assert doomed.wait(DEADLINE) == -9
    cluster.master()
    for future in futures:
        future.result(timeout=DEADLINE)
    assert sorted(run.task for run in cluster.executions()) == sorted(
        future.task_id for future in futures
    )
    cluster.judge(accepted=8)


@pytest.mark.parametrize(
    "step",
    [
        "master.swept",
        "cleaner.before-commit:kill:1",  # of the removal of the statuses
        "cleaner.after-commit:kill:1",
        "cleaner.after-commit:kill:2",  # of the removal of the folder
    ],
)
def test_primary_killed_while_cleaning(cluster: Cluster, step: str) -> None:
    """Wherever it dies, the next one removes what is left, and the audit finds no loss."""
    with Client(cluster.hosts) as gone:
        gone.submit_many([b""] * 3, executor="brief")
        gone.flush(DEADLINE)
    cluster.worker("brief")
    short = ("--status-ttl", "0.3", "--folder-ttl", "0.3")
    doomed = cluster.master(*short, timeout=DOOMED, failpoint=step)
    assert doomed.wait(DEADLINE) == -9
    cluster.master(*short)
    folders = cluster.session.children
    eventually(lambda: not folders(paths.STATUS).wait(), what="the client's folder is removed")
    cluster.judge(accepted=3)
    assert len(cluster.executions()) == 3


# --- lost on the wire ------------------------------------------------------------------------


@pytest.mark.parametrize("about", ["/epoch", "/tasks/"], ids=["election", "assignment"])
def test_reply_to_the_primary_lost(cluster: Cluster, proxy: Proxy, chroot: str, about: str) -> None:
    """It finds out by reading that its `multi` was carried out: one term, one assignment each."""
    cluster.ready(cluster.worker("brief"))
    futures = cluster.client.submit_many([b""] * 8, executor="brief")
    cluster.client.flush(DEADLINE)
    rule = proxy.drop_reply(Op.MULTI, containing=f"{chroot}{about}".encode())
    master = cluster.master(hosts=proxy.hosts(chroot))
    proxy.wait_for(rule)
    for future in futures:
        future.result(timeout=DEADLINE)
    assert cluster.status().epoch == terms(master) == 1
    assert sorted(run.task for run in cluster.executions()) == sorted(
        future.task_id for future in futures
    )
    cluster.judge(accepted=8)


# --- what waits ------------------------------------------------------------------------------


def test_queue_drains_when_a_worker_joins(cluster: Cluster) -> None:
    """Tasks that no worker can run wait; a worker that joins makes the primary look again."""
    futures = cluster.client.submit_many([b""] * 8, executor="brief")
    cluster.in_office(cluster.master())
    stranger = cluster.ready(cluster.worker("wait"))
    eventually(lambda: cluster.status().pending == 8, what="all tasks wait")
    worker = cluster.ready(cluster.worker("brief"))
    assert {future.result(timeout=DEADLINE) for future in futures} == {worker.encode()}
    assert cluster.assigned_to(stranger) == []
    cluster.judge(accepted=8)


def test_task_created_again_between_two_looks(cluster: Cluster) -> None:
    """Scenario 12: what the primary saw is not what it assigns: it reads again what it moves."""
    future = cluster.client.submit(b"never", executor="wait")
    cluster.client.flush(DEADLINE)
    master = cluster.master(timeout=LASTING, failpoint="master.planned:stop")
    cluster.stopped(master)
    again = records.encode_task(Task(future.task_id, "wait"), b"now")
    path = paths.task(future.task_id)
    assert cluster.session.commit([Delete(path), Create(path, again)]).wait() is None
    cluster.release("now")
    worker = cluster.ready(cluster.worker("wait"))
    master.resume()
    assert future.result(timeout=DEADLINE) == worker.encode()
    assert len(cluster.executions()) == 1
    cluster.judge(accepted=1)


def test_task_handed_back_between_two_looks(cluster: Cluster) -> None:
    """A task that returned from a worker while the primary was paused is assigned again."""
    master = cluster.master(timeout=LASTING)
    leaver = cluster.worker("wait", grace=0.0)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, cluster.ready(leaver))
    master.pause()
    leaver.terminate()
    assert leaver.wait(DEADLINE) == 0
    assert cluster.status().pending == 1
    worker = cluster.ready(cluster.worker("wait"))
    cluster.release("go")
    master.resume()
    assert future.result(timeout=DEADLINE) == worker.encode()
    assert [run.attempt for run in cluster.executions()] == [1, 1]
    cluster.judge(accepted=1)


def test_assignments_never_exceed_slots(cluster: Cluster) -> None:
    """However many wait, each worker is given as many tasks as it has slots, and never more."""
    cluster.in_office(cluster.master())
    processes = [cluster.worker("echo", slots=4, timeout=LASTING) for _ in range(2)]
    workers = [cluster.ready(process) for process in processes]
    for process in processes:
        process.pause()
    futures = cluster.client.submit_many([b"x"] * 1_500, executor="echo")
    full = [4, 4]
    eventually(lambda: [len(cluster.assigned_to(one)) for one in workers] == full, what="all full")
    for process in processes:
        process.resume()
    while wait(futures, timeout=0).not_done:
        for worker in workers:
            assert len(cluster.assigned_to(worker)) <= 4
    assert {future.result() for future in futures} == {b"x"}
    cluster.judge(accepted=1_500)


def test_rolling_restart_under_load(cluster: Cluster) -> None:
    """Workers and masters are replaced one after another by SIGTERM: every task runs just once."""
    team = [
        *(cluster.worker("brief", slots=2) for _ in range(2)),
        *(cluster.master() for _ in range(2)),
    ]
    cluster.ready(team[0])
    cluster.ready(team[1])
    futures = []
    for member in team:
        futures += cluster.client.submit_many([b""] * 100, executor="brief")
        futures[-80].result(timeout=DEADLINE)  # the load is being worked on
        member.terminate()
        assert member.wait(DEADLINE) == 0
        if "worker" in member.name:
            cluster.ready(cluster.worker("brief", slots=2))
        else:
            cluster.master()
    futures += cluster.client.submit_many([b""] * 100, executor="brief")
    for future in futures:
        future.result(timeout=DEADLINE)
    runs = cluster.executions()
    assert sorted(run.task for run in runs) == sorted(future.task_id for future in futures)
    assert {run.attempt for run in runs} == {1}
    assert None not in {run.end for run in runs}
    cluster.judge(accepted=500)
