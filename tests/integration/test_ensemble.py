"""Three ZooKeeper servers, some or all of which die: sessions and work continue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest

from masterworker.dev.ensemble import Ensemble
from masterworker.dev.processes import Process
from masterworker.dev.server import ZooKeeperServer
from tests.integration.roles import NOISE, Cluster
from tests.waiting import eventually

T = 8.0
"""Seconds; a role's session timeout. An ensemble that comes back restarts it for every session, so
a role that reconnects sooner has lost nothing. The lease, half of it, outlasts the time that a busy
machine adds to an election."""

OUTAGE = T + 0.5
"""Seconds without a quorum. Sessions would have ended by then, were anybody left to end them."""

RECONNECTION = 2.0 + NOISE
"""Seconds from the quorum's return until every role is connected, at the most."""

ELECTION = 2.0 + NOISE
"""Seconds that three servers on one machine need to agree on a leader, at the most."""

pytestmark = pytest.mark.zookeeper


@pytest.fixture(scope="module")
def ensemble() -> Iterator[Ensemble]:
    """Three servers. A test that harms some mends them again."""
    with Ensemble(3) as running:
        yield running


@pytest.fixture
def cluster(ensemble: Ensemble, nowhere: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(ensemble.hosts + nowhere, tmp_path) as running:
        yield running


def bring_back(ensemble: Ensemble) -> None:
    """Start the servers that were killed, and return when one of all leads."""
    for server in ensemble.servers:
        if not server.process.alive:
            server.launch()
    eventually(lambda: ensemble.leader() is not None, 30.0, "the quorum is back")


def leader(ensemble: Ensemble) -> ZooKeeperServer:
    """The server that leads, as soon as one of them says so."""
    [found] = eventually(
        lambda: [server for server in ensemble.servers if server.mode == "leader"], what="a leader"
    )
    return found


def connections(role: Process) -> int:
    """How often this role was connected to ZooKeeper."""
    return role.log.read_text().count("connected to ZooKeeper at")


def test_leader_killed(ensemble: Ensemble, cluster: Cluster) -> None:
    """Scenario 20: work continues under a new leader; no session ends, no task runs twice."""
    master, process = cluster.master(timeout=T), cluster.worker("brief", timeout=T)
    epoch = cluster.in_office(master)
    worker = cluster.ready(process)
    before = cluster.client.submit_many([b""] * 40, executor="brief")
    wait(before, 20.0, FIRST_COMPLETED)
    leader(ensemble).kill()
    killed = time.monotonic()
    after = cluster.client.submit_many([b""] * 40, executor="brief")
    wait(after, ELECTION + T, FIRST_COMPLETED)
    assert time.monotonic() - killed < ELECTION + T
    assert {future.result(timeout=20.0) for future in (*before, *after)} == {worker.encode()}
    assert cluster.in_office(master) == epoch
    assert [run.attempt for run in cluster.executions()] == [1] * 80
    cluster.judge(accepted=80)
    bring_back(ensemble)


def test_quorum_lost_and_back(ensemble: Ensemble, cluster: Cluster) -> None:
    """Scenario 21: everybody waits, attempts stop; soon after its return all are at work again.

    Nobody's session ended meanwhile, so nothing was recovered: the attempt begins again where it
    was, and it is the first still.
    """
    master, process = cluster.master(timeout=T), cluster.worker("wait", timeout=T)
    epoch = cluster.in_office(master)
    worker = cluster.ready(process)
    running = cluster.client.submit(b"go", executor="wait")
    cluster.started(running.task_id)
    for server in ensemble.servers[:2]:
        server.kill()
    lost = time.monotonic()
    waiting = cluster.client.submit(b"go", executor="wait")
    cluster.says(process, "attempts stop")
    (stopped,) = cluster.executions()
    cluster.release("go")
    time.sleep(max(0.0, lost + OUTAGE - time.monotonic()))
    assert stopped.seen - lost < T
    assert not wait([running, waiting], 0.0).done
    before = connections(master), connections(process)
    bring_back(ensemble)
    back = time.monotonic()
    eventually(lambda: connections(master) > before[0], what="the master is connected")
    eventually(lambda: connections(process) > before[1], what="the worker is connected")
    assert time.monotonic() - back < RECONNECTION
    assert {future.result(timeout=20.0) for future in (running, waiting)} == {worker.encode()}
    assert cluster.in_office(master) == epoch
    again = cluster.executions(running.task_id)
    assert [(run.worker, run.attempt) for run in again] == [(worker, 1)] * 2
    assert len(cluster.executions(waiting.task_id)) == 1
    cluster.judge(accepted=2)


def test_all_killed_and_started_again(ensemble: Ensemble, cluster: Cluster) -> None:
    """Scenario 22: in the midst of work; whatever was accepted before or after finishes, once.

    Two attempts last until the servers are dead, so that there is work then in any case.
    What runs twice was stopped before, as its lease ran out, or runs for the next incarnation of a
    worker whose session did not outlast the start.
    """
    cluster.in_office(cluster.master(timeout=T))
    cluster.ready(cluster.worker("brief", "wait", slots=4, timeout=T))
    running = cluster.client.submit_many([b"go"] * 2, executor="wait")
    for future in running:
        cluster.started(future.task_id)
    futures = cluster.client.submit_many([b""] * 200, executor="brief")
    wait(futures, 20.0, FIRST_COMPLETED)
    for server in ensemble.servers:
        server.kill()
    cluster.release("go")
    futures += running
    futures += cluster.client.submit_many([b""] * 20, executor="brief")
    bring_back(ensemble)
    results = {future.task_id: future.result(timeout=30.0).decode() for future in futures}
    for task, runs in cluster.by_task().items():
        assert results[task] == runs[-1].worker
        ended = [run.worker for run in runs if run.end is not None]
        assert len(set(ended)) == len(ended), "no incarnation repeats what it has done"
    cluster.judge(accepted=222)
