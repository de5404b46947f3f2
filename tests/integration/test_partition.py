"""Holes in the network: connections stay open and nothing comes through, one way or both.

A hole towards the client is the worst. What the client sends still arrives, so each of its
handshakes keeps its session alive at the server, and what it asks for is done, while it hears
nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal

import pytest

from masterworker import Client
from tests.faults.proxy import Direction, Proxy
from tests.faults.wire import Op
from tests.integration.roles import DOOMED, NOISE, PATIENT, TICK, Cluster, recovery
from tests.waiting import DEADLINE, eventually

GIVEN_UP = 3 * DOOMED + TICK + 1.0 + NOISE
"""Seconds until others take over from a process that hears nothing, at the most: its connection
breaks after two thirds of its session's timeout, then it sends handshakes for one timeout, and the
last of them keeps the session for another."""

TAKEN_OVER = {"both": recovery(DOOMED), "to_server": recovery(DOOMED), "to_client": GIVEN_UP}


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path, PATIENT) as running:
        yield running


@pytest.mark.parametrize("direction", ["both", "to_server", "to_client"])
def test_worker_in_a_hole_stops_its_attempts_in_time(
    cluster: Cluster,
    proxy: Proxy,
    chroot: str,
    direction: Direction | Literal["both"],
) -> None:
    """Scenarios 10 and 24: amid steady traffic it stops its attempts before T; then it heals.

    However long the session lasts on the server, no other worker starts the task before the stop.
    """
    cluster.in_office(cluster.master())
    cut_off = cluster.worker("wait", "brief", slots=3, hosts=proxy.hosts(chroot), timeout=DOOMED)
    first = cluster.ready(cut_off)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, first)
    heir = cluster.ready(cluster.worker("wait", "brief", slots=3))
    traffic = cluster.client.submit_many([b""] * 200, executor="brief")
    traffic[20].result(timeout=DEADLINE)
    held = time.monotonic()
    proxy.hold(direction)
    bound = TAKEN_OVER[direction]
    second = cluster.started(future.task_id, heir, deadline=bound)
    assert second.start - held < bound
    stopped = [run for run in cluster.executions(future.task_id) if run.worker == first]
    assert {run.end for run in stopped} == {None}
    assert stopped[-1].seen - held < DOOMED
    assert stopped[-1].seen < second.start
    proxy.release(direction)
    eventually(lambda: len(cluster.status().workers) == 2, what="the worker is back")
    assert cluster.ready(cut_off) != first
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == heir.encode()
    for one in traffic:
        one.result(timeout=DEADLINE)
    for runs in cluster.by_task().values():
        if len(runs) > 1:  # a worker that is silent for a moment runs its own once more
            workers = [name for name, _ in groupby(run.worker for run in runs)]
            assert workers in ([first], [first, heir]), "no fault explains this"
            assert all(run.seen < after.start for run, after in pairwise(runs))
    cluster.judge(accepted=201)


def test_worker_that_hears_nothing_is_given_up_without_traffic(
    cluster: Cluster, proxy: Proxy, chroot: str
) -> None:
    """Scenario 24: its own heartbeats, which still arrive, do not keep its session for ever."""
    cluster.in_office(cluster.master())
    cut_off = cluster.worker("wait", hosts=proxy.hosts(chroot), timeout=DOOMED)
    first = cluster.ready(cut_off)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, first)
    heir = cluster.ready(cluster.worker("wait"))
    proxy.hold("to_client")
    second = cluster.started(future.task_id, heir, deadline=GIVEN_UP)
    assert cluster.executions(future.task_id)[0].seen < second.start
    proxy.release("to_client")
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == heir.encode()
    cluster.judge(accepted=1)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_primary_in_a_hole_is_relieved(
    cluster: Cluster, proxy: Proxy, chroot: str, direction: Direction
) -> None:
    """Scenario 24: a backup is elected and does all the work once; the old primary waits."""
    cluster.ready(cluster.worker("brief"))
    cut_off = cluster.master(hosts=proxy.hosts(chroot), timeout=DOOMED)
    assert cluster.in_office(cut_off) == 1
    backup = cluster.master()
    eventually(lambda: len(cluster.status().masters) == 2, what="a backup stands by")
    proxy.hold(direction)
    futures = cluster.client.submit_many([b""] * 8, executor="brief")
    bound = TAKEN_OVER[direction]
    eventually(lambda: cluster.status().epoch == 2, bound, what="another term begins")
    assert cluster.in_office(backup) == 2
    for future in futures:
        future.result(timeout=DEADLINE)
    proxy.release(direction)
    cluster.says(cut_off, "no longer the primary")
    eventually(lambda: len(cluster.status().masters) == 2, what="it stands by again")
    assert cluster.in_office(backup) == 2
    assert sorted(run.task for run in cluster.executions()) == sorted(
        future.task_id for future in futures
    )
    cluster.judge(accepted=8)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_client_in_a_hole_submits_once(
    cluster: Cluster, proxy: Proxy, chroot: str, direction: Direction
) -> None:
    """Scenario 24: what it sent was accepted unheard, or lost; either way each task runs once."""
    cluster.in_office(cluster.master())
    arrived = 8 if direction == "to_client" else 0
    with Client(proxy.hosts(chroot), session_timeout=DOOMED) as client:
        first = client.submit(b"", executor="brief")
        client.flush(DEADLINE)
        session = client._courier._first_session
        rule = proxy.hold_at(Op.MULTI, direction, containing=f"{chroot}/tasks/".encode())
        futures = client.submit_many([b""] * 8, executor="brief")
        proxy.wait_for(rule)
        eventually(lambda: cluster.status().pending == 1 + arrived, what="all arrived")
        eventually(lambda: session.lost, what="the client gives its session up")
        assert client._courier.unsent > 0
        assert cluster.status().pending == 1 + arrived
        cluster.ready(cluster.worker("brief"))
        proxy.release(direction)
        for future in (first, *futures):
            future.result(timeout=DEADLINE)
    runs = cluster.executions()
    assert len({run.task for run in runs}) == len(runs) == 9
    cluster.judge(accepted=9)
