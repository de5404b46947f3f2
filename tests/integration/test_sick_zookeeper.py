"""A faulty ZooKeeper server: it stalls, or its disk is full. Each test has its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker.dev.server import ZooKeeperServer
from masterworker.words.errors import Unavailable
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.roles import PATIENT, Cluster
from tests.waiting import DEADLINE, eventually

DISK = 16 * 1024 * 1024  # bytes; with 4 MiB for each of ZooKeeper's transaction logs

STALLED = 12.0
"""Seconds; the session of a role whose ZooKeeper stands still for a good part of it."""

pytestmark = pytest.mark.zookeeper


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no disk to fill: mounting a tmpfs takes root ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def test_stall_of_less_than_a_session_recovers_nothing(tmp_path: Path, nowhere: str) -> None:
    """Scenario 33: ZooKeeper stalls for 0.8 T: attempts pause, and continue where they were.

    A worker sends a heartbeat every T/6, so its session survives. The stall starts just after one,
    to leave room for a busy machine. A primary sends one only every T/3 and may lose its session;
    no worker loses a task by that.
    """
    with (
        ZooKeeperServer() as server,
        Proxy("127.0.0.1", server.port) as proxy,
        Cluster(server.hosts + nowhere, tmp_path) as cluster,
    ):
        cluster.in_office(cluster.master(timeout=STALLED))
        process = cluster.worker("wait", timeout=STALLED, hosts=proxy.hosts(nowhere))
        worker = cluster.ready(process)
        future = cluster.client.submit(b"go", executor="wait")
        cluster.started(future.task_id)
        beats = proxy.counts[Op.SYNC]
        eventually(lambda: proxy.counts[Op.SYNC] > beats, what="the worker is heard")
        stalled = time.monotonic()
        server.pause()
        cluster.says(process, "attempts stop")
        assert time.monotonic() - stalled < STALLED
        time.sleep(max(0.0, stalled + 0.8 * STALLED - time.monotonic()))
        server.resume()
        eventually(lambda: len(cluster.executions()) == 2, what="the attempt begins again")
        cluster.release("go")
        assert future.result(timeout=DEADLINE) == worker.encode()
        runs = cluster.executions()
        assert [(run.worker, run.attempt) for run in runs] == [(worker, 1)] * 2
        cluster.judge(accepted=1)


def test_full_disk(small_disk: Path, tmp_path: Path, nowhere: str) -> None:
    """Scenario 32: what cannot be stored is not accepted, and says so; what was accepted is done.

    ZooKeeper ends itself when it cannot write. Once there is room and it is started again, all
    goes on, the tasks that waited in their client included.
    """
    with (
        ZooKeeperServer(small_disk / "zookeeper") as server,
        Cluster(server.hosts + nowhere, tmp_path, PATIENT) as cluster,
    ):
        accepted = cluster.client.submit_many([b"kept"] * 20, executor="brief")
        cluster.client.flush(DEADLINE)
        filler = small_disk / "filler"
        fill(filler)
        late = cluster.client.submit_many([os.urandom(400_000)] * 20, executor="brief")
        with pytest.raises(Unavailable, match="not everything was accepted"):
            cluster.client.flush(2.0)
        server.process.wait(DEADLINE)
        filler.unlink()
        server.restart()
        cluster.in_office(cluster.master())
        cluster.ready(cluster.worker("brief"))
        for future in (*accepted, *late):
            future.result(timeout=2 * DEADLINE)
        cluster.judge(accepted=40)
