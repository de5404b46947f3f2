"""Ctrl-C while ZooKeeper does not answer: a quick end, and what is known of each task."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from masterworker.cli.reading import reading
from masterworker.dev.cluster import Cluster
from masterworker.dev.processes import masterworker_command
from masterworker.words.login import Login
from tests.cli.calling import OWN
from tests.waiting import DEADLINE, eventually

LINE = b"x" * 5_000 + b"\n"

PIPE = subprocess.PIPE


def unread(port: int) -> int:
    """Bytes that have arrived at a port, and that its server has not read."""
    total = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, _, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) == port:
                total += int(queues.partition(":")[2], 16)
    return total


def given(stream: IO[bytes] | None) -> IO[bytes]:
    """A stream that is a pipe."""
    assert stream is not None
    return stream


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster without workers, whose ZooKeeper can be stopped."""
    with Cluster(masters=1, workers=0) as running:
        yield running


def test_ctrl_c_while_reading_is_unanswered(cluster: Cluster) -> None:
    """A command that only looks ends within 2 s too, and does not wait for a session to close."""
    [server] = cluster.zookeepers

    def interrupted() -> None:
        with reading(cluster.hosts, Login()):
            server.pause()
            raise KeyboardInterrupt

    try:
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert time.monotonic() - begun < 2.0
    finally:
        server.resume()


def test_ctrl_c_without_stderr_still_gives_130(cluster: Cluster) -> None:
    """Nothing has to be said for that."""
    call = masterworker_command("submit", "--executor=echo", "-", f"--hosts={cluster.hosts}")
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *call], stdin=PIPE, stdout=PIPE
    ) as p:
        given(p.stdin).write(b"first\n")
        given(p.stdin).flush()
        assert given(p.stdout).readline()
        p.send_signal(signal.SIGINT)
        assert p.wait(DEADLINE) == 130


def test_ctrl_c_during_a_submission_that_is_unanswered(cluster: Cluster) -> None:
    """Within 2 s, 130, and stderr names the tasks that may have been accepted, and how to look."""
    [server] = cluster.zookeepers
    call = masterworker_command("submit", "--executor=echo", "-", f"--hosts={cluster.hosts}")
    calls = [call, [*call, "--wait"]]
    without, waiting = (
        subprocess.Popen(one, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=OWN) for one in calls
    )
    with without, waiting:
        for process in (without, waiting):
            given(process.stdin).write(b"first\n")
            given(process.stdin).flush()
        first = given(without.stdout).readline().decode().strip()
        assert first.endswith("-1")
        assert b"no ready worker offers" in given(waiting.stderr).readline()  # the task is accepted
        server.pause()
        try:
            for process in (without, waiting):
                given(process.stdin).write(LINE)
                given(process.stdin).flush()
            eventually(lambda: unread(server.port) > 2 * len(LINE), what="two requests unanswered")
            begun = time.monotonic()
            for process in (without, waiting):
                process.send_signal(signal.SIGINT)
            codes = [process.wait(DEADLINE) for process in (without, waiting)]
            took = time.monotonic() - begun
        finally:
            server.resume()
        assert codes == [130, 130]
        assert took < 4.0  # 2 s, and what a busy machine adds for two processes
        told = given(without.stderr).read().decode()
        second = first[:-1] + "2"
        assert f"line 2: task {second} may have been accepted" in told
        assert f"mwctl tasks show {second}" in told
        assert first not in told  # its id was printed
        told = given(waiting.stderr).read().decode()
        assert "line 1: task" in told
        assert "-1 has no result yet" in told
        assert "-2 may have been accepted" in told
        assert "Traceback" not in told
