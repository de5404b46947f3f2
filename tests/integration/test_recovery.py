"""Dead workers: their tasks soon continue elsewhere, and each ends with one status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker import TaskFailed
from masterworker.words.limits import MAX_LOSSES
from tests.integration.roles import DOOMED, LASTING, PATIENT, Cluster, recovery
from tests.waiting import DEADLINE, eventually


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path, PATIENT) as running:
        yield running


def test_killed_worker_is_replaced_in_time(cluster: Cluster) -> None:
    """A task whose worker is killed in its midst starts elsewhere soon, and has one status.

    The primary's log has one warning for the attempt that was lost.
    """
    master = cluster.master("--log-format", "json", "--log-level", "warning")
    cluster.in_office(master)
    victim = cluster.worker("wait", timeout=DOOMED)
    first = cluster.ready(victim)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, first)
    heir = cluster.ready(cluster.worker("wait"))
    died = time.monotonic()
    victim.kill()
    second = cluster.started(future.task_id, heir)
    assert second.start - died < recovery(DOOMED)
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == heir.encode()
    *interrupted, complete = cluster.executions()
    for run in interrupted:  # more than one if the worker was silent for a moment
        assert (run.attempt, run.worker, run.end) == (1, first, None)
        assert run.seen < second.start, "the first attempt outlived its worker"
    assert (complete.attempt, complete.worker) == (2, heir)
    cluster.judge(accepted=1)
    lines = [json.loads(line) for line in master.log.read_text().splitlines()]
    [told] = [line for line in lines if line.get("task") == future.task_id]
    assert (told["level"], told["worker"], told["reason"]) == ("WARNING", first, "lost")
    assert (told["attempt"], told["attempts"], told["final"]) == (1, MAX_LOSSES, False)


@pytest.mark.parametrize(
    ("step", "had_run", "had_recorded"),
    [
        ("worker.registered", False, False),
        ("worker.read", False, False),
        ("worker.before-commit", True, False),
        ("worker.after-commit", True, True),
    ],
)
def test_worker_killed_at_a_step(
    cluster: Cluster, step: str, had_run: bool, had_recorded: bool
) -> None:
    """Wherever it dies: what it had recorded stands, all else runs elsewhere, once."""
    cluster.master()
    futures = cluster.client.submit_many([b""] * 8, executor="brief-inline")
    cluster.client.flush(DEADLINE)
    doomed = cluster.worker("brief-inline", slots=8, name="doomed", timeout=DOOMED, failpoint=step)
    assert doomed.wait(DEADLINE) == -9
    heir = cluster.ready(cluster.worker("brief-inline", slots=8))
    by_whom = {future.task_id: future.result(timeout=DEADLINE).decode() for future in futures}
    recorded = {task for task, worker in by_whom.items() if worker != heir}
    assert bool(recorded) is had_recorded
    runs = cluster.executions()
    assert any(run.worker.startswith("doomed") for run in runs) is had_run
    assert sorted(run.task for run in runs if run.worker == heir) == sorted(
        by_whom.keys() - recorded
    )
    cluster.judge(accepted=8)


@pytest.mark.parametrize("step", ["master.before-moves", "master.after-moves"])
def test_primary_killed_while_recovering(cluster: Cluster, step: str) -> None:
    """A worker dies, and the primary in the midst of its recovery: the next one sees to it."""
    first = cluster.master()
    victim = cluster.worker("wait", slots=4, timeout=DOOMED)
    lost = cluster.ready(victim)
    futures = cluster.client.submit_many([b"go"] * 4, executor="wait")
    for future in futures:
        cluster.started(future.task_id)
    first.terminate()
    victim.kill()
    doomed = cluster.master(timeout=DOOMED, failpoint=step)
    heir = cluster.ready(cluster.worker("wait", slots=4))
    assert doomed.wait(DEADLINE) == -9
    cluster.master()
    cluster.release("go")
    assert {future.result(timeout=DEADLINE) for future in futures} == {heir.encode()}
    runs = cluster.executions()
    assert {run.attempt for run in runs if run.worker == lost} == {1}
    assert [run.attempt for run in runs if run.worker == heir] == [2] * 4
    cluster.judge(accepted=4)


def test_chosen_worker_dies_before_it_is_assigned(cluster: Cluster) -> None:
    """Scenario 9: the `multi` that assigns requires the worker; its tasks go to another."""
    victim = cluster.worker("brief", timeout=DOOMED)
    gone = cluster.ready(victim)
    futures = cluster.client.submit_many([b""] * 4, executor="brief")
    cluster.client.flush(DEADLINE)
    master = cluster.master(timeout=LASTING, failpoint="master.before-moves:stop")
    cluster.stopped(master)
    victim.kill()
    eventually(lambda: gone not in cluster.status().workers, what="the chosen worker is gone")
    heir = cluster.ready(cluster.worker("brief"))
    master.resume()
    assert {future.result(timeout=DEADLINE) for future in futures} == {heir.encode()}
    cluster.says(master, f"worker {gone} left before it got task")
    assert [run.attempt for run in cluster.executions()] == [1] * 4
    cluster.judge(accepted=4)


def test_worker_back_under_its_name_before_its_session_ends(cluster: Cluster) -> None:
    """A restarted worker is another incarnation; the tasks of the old one are recovered."""
    cluster.in_office(cluster.master())
    victim = cluster.worker("wait", name="phoenix")
    old = cluster.ready(victim)
    future = cluster.client.submit(b"go", executor="wait")
    cluster.started(future.task_id, old)
    died = time.monotonic()
    victim.kill()
    new = cluster.ready(cluster.worker("wait", name="phoenix"))
    assert new != old
    assert old in cluster.status().workers, "it was to be back before the old session ended"
    again = cluster.started(future.task_id, new)
    assert again.start - died < recovery(PATIENT)
    cluster.release("go")
    assert future.result(timeout=DEADLINE) == new.encode()
    assert [run.attempt for run in cluster.executions()] == [1, 2]
    cluster.judge(accepted=1)


def test_poison_that_kills_its_workers_is_given_up(cluster: Cluster) -> None:
    """A task that kills its worker, again and again, ends as lost; the tasks beside it are done."""
    cluster.in_office(cluster.master())
    workers = [cluster.worker("die-inline", "brief", timeout=DOOMED) for _ in range(MAX_LOSSES + 1)]
    for worker in workers:
        cluster.ready(worker)
    poison = cluster.client.submit(b"7", executor="die-inline")
    others = cluster.client.submit_many([b""] * 4, executor="brief")
    with pytest.raises(TaskFailed) as failed:
        poison.result(timeout=MAX_LOSSES * recovery(DOOMED))
    assert failed.value.reason == "lost"
    assert [attempt.reason for attempt in failed.value.attempts] == ["lost"] * MAX_LOSSES
    assert len({attempt.worker for attempt in failed.value.attempts}) == MAX_LOSSES
    (survivor,) = [worker for worker in workers if worker.alive]
    assert {worker.exit_code for worker in workers if worker is not survivor} == {7}
    for future in others:
        future.result(timeout=DEADLINE)
    deaths = cluster.executions(poison.task_id)
    assert [run.attempt for run in deaths] == list(range(1, MAX_LOSSES + 1))
    cluster.judge(accepted=5)
