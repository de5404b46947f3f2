"""Workers as real processes: their records, handing back tasks, and surviving faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker import TaskFailed
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.roles import LASTING, PATIENT, Cluster
from tests.waiting import DEADLINE, eventually


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path, PATIENT) as running:
        yield running


@pytest.mark.parametrize("about", ["/workers/", "/status/"], ids=["registration", "commit"])
def test_reply_to_a_worker_lost(cluster: Cluster, proxy: Proxy, chroot: str, about: str) -> None:
    """It finds out by reading that its `multi` was carried out: one incarnation, one status."""
    cluster.in_office(cluster.master())
    futures = cluster.client.submit_many([b""] * 4, executor="brief")
    rule = proxy.drop_reply(Op.MULTI, containing=f"{chroot}{about}".encode())
    worker = cluster.ready(cluster.worker("brief", slots=2, hosts=proxy.hosts(chroot)))
    proxy.wait_for(rule)
    assert {future.result(timeout=DEADLINE) for future in futures} == {worker.encode()}
    assert list(cluster.status().workers) == [worker]
    assert sorted(run.task for run in cluster.executions()) == sorted(
        future.task_id for future in futures
    )
    cluster.judge(accepted=4)


def test_two_workers_of_one_name_both_work(cluster: Cluster) -> None:
    """A name is not an identity: each worker has its own id and its own tasks."""
    cluster.in_office(cluster.master())
    one, other = (cluster.worker("wait", slots=1, name="twin") for _ in range(2))
    twins = {cluster.ready(one), cluster.ready(other)}
    assert len(twins) == 2
    futures = cluster.client.submit_many([b"go"] * 2, executor="wait")
    for future in futures:
        cluster.started(future.task_id)
    cluster.release("go")
    assert {future.result(timeout=DEADLINE).decode() for future in futures} == twins
    assert len(cluster.executions()) == 2
    cluster.judge(accepted=2)


def test_crash_of_an_executor_fails_its_own_attempt_only(cluster: Cluster) -> None:
    """The worker lives on, so does the attempt beside it, and the failure comes with evidence."""
    cluster.in_office(cluster.master())
    worker = cluster.ready(cluster.worker("wait", "die"))
    beside = cluster.client.submit(b"go", executor="wait")
    cluster.started(beside.task_id)
    doomed = cluster.client.submit(b"7", executor="die", attempts=2)
    with pytest.raises(TaskFailed, match="exit code 7\nlast words") as failed:
        doomed.result(timeout=DEADLINE)
    assert failed.value.reason == "crashed"
    assert [(one.worker, one.reason) for one in failed.value.attempts] == [(worker, "crashed")] * 2
    cluster.release("go")
    assert beside.result(timeout=DEADLINE) == worker.encode()
    assert [run.attempt for run in cluster.executions(doomed.task_id)] == [1, 2]
    assert len(cluster.executions(beside.task_id)) == 1
    cluster.judge(accepted=2)


def test_drain_finishes_what_runs_and_hands_back_the_rest(cluster: Cluster) -> None:
    """SIGTERM: what runs may end, what waits behind it runs elsewhere at once, as attempt 1."""
    cluster.in_office(cluster.master())
    process = cluster.worker("wait-inline", "brief-inline", slots=6)
    leaver = cluster.ready(process)
    running = cluster.client.submit(b"go", executor="wait-inline")
    cluster.started(running.task_id, leaver)
    waiting = cluster.client.submit_many([b""] * 5, executor="brief-inline")
    eventually(lambda: len(cluster.assigned_to(leaver)) == 6, what="tasks wait behind it")
    heir = cluster.ready(cluster.worker("brief-inline", slots=6))
    process.terminate()
    assert {future.result(timeout=DEADLINE) for future in waiting} == {heir.encode()}
    assert cluster.status().workers[leaver].state == "draining"
    cluster.release("go")
    assert running.result(timeout=DEADLINE) == leaver.encode()
    assert process.wait(DEADLINE) == 0
    assert leaver not in cluster.status().workers
    assert [run.attempt for run in cluster.executions()] == [1] * 6
    cluster.judge(accepted=6)


def test_hand_back_lost_on_the_way_is_repeated(cluster: Cluster, proxy: Proxy, chroot: str) -> None:
    """What waits goes back at once even if the connection breaks, whatever still runs beside it."""
    cluster.in_office(cluster.master())
    process = cluster.worker("wait-inline", "brief-inline", slots=3, hosts=proxy.hosts(chroot))
    leaver = cluster.ready(process)
    running = cluster.client.submit(b"go", executor="wait-inline")
    cluster.started(running.task_id, leaver)
    waiting = cluster.client.submit_many([b""] * 2, executor="brief-inline")
    eventually(lambda: len(cluster.assigned_to(leaver)) == 3, what="tasks wait behind it")
    heir = cluster.ready(cluster.worker("brief-inline"))
    rule = proxy.drop_request(Op.MULTI, containing=f"{chroot}/tasks/".encode())
    process.terminate()
    proxy.wait_for(rule)
    assert {future.result(timeout=DEADLINE) for future in waiting} == {heir.encode()}
    cluster.release("go")
    assert running.result(timeout=DEADLINE) == leaver.encode()
    assert process.wait(DEADLINE) == 0
    assert [run.attempt for run in cluster.executions()] == [1] * 3
    cluster.judge(accepted=3)


def test_drain_hands_back_what_outlasts_its_grace(cluster: Cluster) -> None:
    """An attempt still running then is stopped, runs elsewhere, and did not count."""
    cluster.in_office(cluster.master())
    process = cluster.worker("wait", grace=0.5)
    leaver = cluster.ready(process)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, leaver)
    heir = cluster.ready(cluster.worker("wait"))
    process.terminate()
    again = cluster.started(future.task_id, heir)
    assert process.wait(DEADLINE) == 0
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == heir.encode()
    stopped, complete = cluster.executions()
    assert stopped.end is None
    assert stopped.seen < again.start
    assert (stopped.attempt, complete.attempt) == (1, 1)
    cluster.judge(accepted=1)


def test_second_signal_ends_a_worker_cold(cluster: Cluster) -> None:
    """It hands nothing back; its session is closed, so its tasks are recovered without a wait."""
    cluster.in_office(cluster.master())
    process = cluster.worker("wait", timeout=LASTING)
    leaver = cluster.ready(process)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, leaver)
    heir = cluster.ready(cluster.worker("wait"))
    process.terminate()
    cluster.says(process, "is draining")
    process.terminate()
    assert process.wait(DEADLINE) == 143
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == heir.encode()
    assert [run.attempt for run in cluster.executions()] == [1, 2]
    cluster.judge(accepted=1)
