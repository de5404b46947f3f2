"""The main job: many tasks through the whole system while processes die."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from masterworker import Client
from masterworker.dev.cluster import Cluster
from masterworker.dev.processes import Process, masterworker_command
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.session import Session
from tests.waiting import eventually

TASKS = 10_000
SESSION_TIMEOUT = 10.0  # seconds; the worker that is paused must outlive its pause
AUDITS = 3


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(
        masters=2, workers=3, executors=["echo"], session_timeout=SESSION_TIMEOUT
    ) as running:
        yield running


def holds_tasks(cluster: Cluster, worker: Process) -> bool:
    """Whether tasks are assigned to the worker that this process is."""
    status = cluster.status()
    ids = [name for name, one in status.workers.items() if one.pid == worker.pid]
    assert ids, "its session is over: it was paused for too long"
    return status.assigned.get(ids[0], 0) > 0


def test_ten_thousand_tasks_survive_the_primary_and_a_worker(cluster: Cluster) -> None:
    """Every future ends with its own result, and the audit counts none lost and none twice.

    The worker is paused before it dies, so that it cannot finish what it holds, and both deaths
    come in the middle.
    """
    payloads = [f"payload {number}".encode() for number in range(TASKS)]
    primary = cluster.primary()
    assert primary is not None
    victim = cluster.workers[0]
    with Client(cluster.hosts, session_timeout=SESSION_TIMEOUT) as client:
        futures = client.submit_many(payloads[: TASKS // 10], executor="echo")
        wait(futures, timeout=30)
        victim.pause()
        futures += client.submit_many(payloads[TASKS // 10 :], executor="echo")
        eventually(lambda: holds_tasks(cluster, victim), what="the paused worker holds tasks")
        victim.kill()
        primary.kill()
        assert not all(future.done() for future in futures), "the kills came too late to matter"
        results = [future.result(timeout=60) for future in futures]
    assert results == payloads
    heir = cluster.primary()
    assert heir is not None
    assert heir is not primary
    assert "was lost on worker" in heir.log.read_text(), (
        "the dead worker held nothing to be recovered"
    )
    audit = subprocess.run(
        masterworker_command("audit", "--hosts", cluster.hosts, "-o", "json"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = json.loads(audit.stdout)
    assert audit.returncode == 0, audit.stdout
    assert (report["accepted"], report["taken"]) == (TASKS, TASKS)
    assert (report["lost"], report["recorded_twice"]) == (0, 0)


def test_an_audit_in_the_middle_finds_nothing_amiss(cluster: Cluster) -> None:
    """The tree alone is enough to audit the cluster while tens of thousands of tasks pass through
    it, without a pause until the last audit."""
    over = threading.Event()
    session = Session(cluster.hosts)
    with Client(cluster.hosts) as client, ThreadPoolExecutor() as beside:
        session.start()
        load = beside.submit(keep_busy, client, over)
        try:
            for _ in range(AUDITS):
                report = Auditor(session).report()
                assert report.ok, report.findings
        finally:
            over.set()
            session.close()
        assert load.result() >= TASKS


def keep_busy(client: Client, over: threading.Event) -> int:
    """Have tasks under way until it is over; how many there were."""
    futures = deque(client.submit_many([b"x"] * TASKS, executor="echo"))
    count = TASKS
    while futures:
        futures.popleft().result(60)
        if not over.is_set() and len(futures) < TASKS // 2:
            futures.extend(client.submit_many([b"x"] * (TASKS // 2), executor="echo"))
            count += TASKS // 2
    return count
