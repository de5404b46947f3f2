"""A role that was away too long: writes are refused; attempts stop before others start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker.words import paths
from masterworker.zookeeper.operations import Delete
from tests.faults.proxy import Proxy
from tests.integration.roles import NOISE, TICK, Cluster
from tests.waiting import eventually

AWAKE = 30.0
"""Seconds; the session of a role that nothing may end or interrupt, however busy the machine is."""

ASLEEP = 6.0
"""Seconds; the session of a role that sleeps until it has ended, and no sooner: the lease is half
of it."""

RECOVERY = ASLEEP + TICK + 1.0 + NOISE
"""Seconds from the moment at which such a worker falls asleep to the start of its task elsewhere,
at the most."""


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path) as running:
        yield running


# --- masters ---------------------------------------------------------------------------------


def test_primary_that_slept_past_its_session_writes_nothing(cluster: Cluster) -> None:
    """It wakes with a plan to carry out; its successor has done so, and it stands by again."""
    cluster.ready(cluster.worker("brief", timeout=AWAKE))
    futures = cluster.client.submit_many([b""] * 4, executor="brief")
    cluster.client.flush(20.0)
    sleeper = cluster.master(timeout=ASLEEP, failpoint="master.before-moves:stop")
    cluster.stopped(sleeper)
    epoch = cluster.status().epoch
    successor = cluster.master(timeout=AWAKE)
    assert cluster.in_office(successor) == epoch + 1
    for future in futures:
        future.result(timeout=20.0)
    sleeper.resume()
    cluster.says(sleeper, "no longer the primary")
    eventually(lambda: len(cluster.status().masters) == 2, what="it stands by again")
    assert cluster.in_office(successor) == epoch + 1
    assert len(cluster.executions()) == 4
    cluster.judge(accepted=4)


def test_deposed_primary_is_fenced_though_its_session_lives(cluster: Cluster) -> None:
    """/master was taken from it while it slept: nothing but its epoch stands against its write.

    The worker it has chosen drains meanwhile, so that its successor leaves the task where it is.
    """
    chosen = cluster.worker("wait", slots=2, timeout=AWAKE)
    sleeper = cluster.master(timeout=AWAKE, failpoint="master.before-moves:stop:2")
    first = cluster.client.submit(b"go", executor="wait")
    draining = cluster.ready(chosen)
    cluster.started(first.task_id, draining)
    second = cluster.client.submit(b"go", executor="wait")
    cluster.stopped(sleeper)
    chosen.terminate()
    eventually(lambda: cluster.status().workers[draining].state == "draining")
    assert cluster.session.commit([Delete(paths.MASTER)]).wait() is None
    assert cluster.in_office(cluster.master(timeout=AWAKE)) == 2
    sleeper.resume()
    cluster.says(
        sleeper, "no longer the primary, starting again: epoch 1 is over: another master was"
    )
    assert cluster.status().pending == 1
    heir = cluster.ready(cluster.worker("wait", timeout=AWAKE))
    cluster.release("go")
    assert second.result(timeout=20.0) == heir.encode()
    first.result(timeout=20.0)
    eventually(lambda: len(cluster.status().masters) == 2, what="it stands by again")
    assert [run.attempt for run in cluster.executions()] == [1, 1]
    cluster.judge(accepted=2)


def test_write_of_a_primary_that_was_cut_off_is_not_sent_later(
    cluster: Cluster, proxy: Proxy, chroot: str
) -> None:
    """Scenario 2: what it was to write without a connection is not written by a later session."""
    cluster.ready(cluster.worker("brief", timeout=AWAKE))
    futures = cluster.client.submit_many([b""] * 4, executor="brief")
    cluster.client.flush(20.0)
    cut_off = cluster.master(
        hosts=proxy.hosts(chroot), timeout=ASLEEP, failpoint="master.before-moves:stop"
    )
    cluster.stopped(cut_off)
    epoch = cluster.status().epoch
    proxy.refuse()
    proxy.reset()
    assert cluster.in_office(cluster.master(timeout=AWAKE)) == epoch + 1
    for future in futures:
        future.result(timeout=20.0)
    cut_off.resume()
    cluster.says(cut_off, "broke; trying to reconnect")
    proxy.accept()
    cluster.says(cut_off, "no longer the primary")
    eventually(lambda: len(cluster.status().masters) == 2, what="it stands by again")
    assert cluster.status().epoch == epoch + 1
    assert len(cluster.executions()) == 4
    cluster.judge(accepted=4)


# --- workers ---------------------------------------------------------------------------------


def test_attempt_of_a_paused_worker_is_killed_before_it_runs_elsewhere(cluster: Cluster) -> None:
    """A paused worker cannot stop its attempt: its guardian does, and one status is recorded."""
    cluster.in_office(cluster.master(timeout=AWAKE))
    sleeper = cluster.worker("wait", timeout=ASLEEP)
    first = cluster.ready(sleeper)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, first)
    heir = cluster.ready(cluster.worker("wait", timeout=AWAKE))
    stopped = time.monotonic()
    sleeper.pause()
    second = cluster.started(future.task_id, heir, deadline=2 * RECOVERY)
    assert second.start - stopped < RECOVERY
    killed = cluster.started(future.task_id, first)
    assert killed.seen - stopped < ASLEEP
    assert killed.seen < second.start
    sleeper.resume()
    cluster.says(sleeper, "this incarnation is over")
    assert cluster.ready(sleeper) != first
    cluster.release("go")
    assert future.result(timeout=20.0) == heir.encode()
    assert [(run.worker, run.end is None) for run in cluster.executions()] == [
        (first, True),
        (heir, False),
    ]
    cluster.judge(accepted=1)


def test_outcome_of_a_paused_worker_is_not_recorded(cluster: Cluster) -> None:
    """It had finished and was about to commit when it was paused: by then the task is another's."""
    cluster.in_office(cluster.master(timeout=AWAKE))
    sleeper = cluster.worker("brief", timeout=ASLEEP, failpoint="worker.before-commit:stop")
    first = cluster.ready(sleeper)
    future = cluster.client.submit(b"", executor="brief")
    cluster.stopped(sleeper)
    heir = cluster.ready(cluster.worker("brief", timeout=AWAKE))
    assert future.result(timeout=2 * RECOVERY) == heir.encode()
    sleeper.resume()
    cluster.says(sleeper, "this incarnation is over")
    assert cluster.ready(sleeper) != first
    assert [run.worker for run in cluster.executions()] == [first, heir]
    cluster.judge(accepted=1)


def test_outcome_of_a_task_taken_away_is_dropped(cluster: Cluster) -> None:
    """A worker whose session lives finds its assignment gone: no status comes of its outcome."""
    cluster.in_office(cluster.master(timeout=AWAKE))
    sleeper = cluster.worker("brief", timeout=AWAKE, failpoint="worker.before-commit:stop")
    first = cluster.ready(sleeper)
    future = cluster.client.submit(b"", executor="brief")
    cluster.stopped(sleeper)
    assert cluster.session.commit([Delete(paths.worker(first))]).wait() is None  # its recovery
    heir = cluster.ready(cluster.worker("brief", timeout=AWAKE))
    assert future.result(timeout=20.0) == heir.encode()
    sleeper.resume()
    cluster.says(sleeper, f"task {future.task_id} was taken away")
    assert [run.worker for run in cluster.executions()] == [first, heir]
    cluster.judge(accepted=1)
