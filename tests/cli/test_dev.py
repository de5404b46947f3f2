"""`mwctl dev` and the cluster behind it: everything starts, works, is reported on, and stops."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from masterworker import BadConfiguration, Client
from masterworker.dev.cluster import Cluster
from masterworker.dev.processes import Process
from masterworker.dev.server import free_ports, port_is_free
from masterworker.words.errors import Unavailable
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import Session
from tests.waiting import eventually

pytestmark = pytest.mark.zookeeper

DEV = [sys.executable, "-m", "masterworker", "dev"]
BARE = ["--masters", "0", "--workers", "0"]  # ZooKeeper alone is quicker to have
TERMINAL = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])"]
DEADLINE = 60.0

COUNTING = """
import signal, time

def arrived(number, frame):
    arrivals.append(number)
    print("got SIGINT", flush=True)

arrivals = []
signal.signal(signal.SIGINT, arrived)
print("ready", flush=True)
until = time.monotonic() + 30
while not arrivals and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.5)  # for one too many to come
print("ended after", len(arrivals), flush=True)
"""


def dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `mwctl dev` to its end."""
    return subprocess.run(
        [*DEV, *arguments],
        capture_output=True,
        timeout=DEADLINE,
        env=os.environ | environment,
        check=False,
    )


@contextlib.contextmanager
def running(
    *arguments: str, wrapper: Sequence[str] = (), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`mwctl dev` without a terminal, so that no other signal reaches it than ours."""
    with subprocess.Popen(
        [*wrapper, *DEV, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[bytes]) -> str:
    """The first line on stdout, as soon as it is there."""
    assert process.stdout is not None
    return process.stdout.readline().decode()


def pids(text: str) -> set[int]:
    """The processes with `text` in their command line, without those that only watch them."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes()
            if text.encode() in line and b"lifeline.py" not in line:
                found.add(int(file.parent.name))
    return found


# --- with a command ------------------------------------------------------------------------------


def test_file_comes_back_unchanged(tmp_path: Path) -> None:
    """300 KB of random bytes go through a worker; `mwctl` is found though it is not on the PATH."""
    path = "/usr/bin:/bin"
    assert shutil.which("mwctl", path=path) is None
    source, result = tmp_path / "f.bin", tmp_path / "out.bin"
    source.write_bytes(secrets.token_bytes(300_000))
    script = f"mwctl submit --executor echo --payload {source} --wait --output {result}"
    done = dev("--workers", "2", "--", "sh", "-c", script, PATH=path)
    assert done.returncode == 0, done.stderr
    assert result.read_bytes() == source.read_bytes()


def test_command_has_stdout_and_the_exit_code(tmp_path: Path) -> None:
    """Stdout has what the command writes and no more, and the exit code is the command's. Three
    servers have the port asked for and the next two, and keep their logs where they are told."""
    port = next(
        port
        for port in range(free_ports(1)[0], 65_000)
        if all(map(port_is_free, range(port, port + 3)))
    )
    where = ["--zookeepers", "3", "--port", str(port), "--log-dir", str(tmp_path / "new/logs")]
    done = dev(*BARE, *where, "--", "sh", "-c", "echo $MWCTL_HOSTS; exit 7")
    assert (done.returncode, done.stderr) == (7, b"")
    hosts = ",".join(f"127.0.0.1:{port + number}" for number in range(3))
    assert done.stdout.decode() == f"{hosts}\n"
    logs = sorted(file.name for file in (tmp_path / "new/logs").iterdir())
    assert logs == ["zookeeper-1.log", "zookeeper-2.log", "zookeeper-3.log"]


def test_killed_command_is_counted_as_a_shell_does() -> None:
    """A command that a signal ended gives 128 and the signal's number."""
    assert dev(*BARE, "--", "sh", "-c", "kill -9 $$").returncode == 137


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signal_is_passed_on(name: str) -> None:
    """The command decides what a signal means, and how all ends."""
    script = f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done"
    with running(*BARE, "--", "sh", "-c", script) as process:
        assert first_line(process) == "ready\n"
        process.send_signal(signal.Signals[f"SIG{name}"])
        stdout, stderr = process.communicate(timeout=DEADLINE)
        assert (process.returncode, stdout, stderr) == (5, f"got {name}\n".encode(), b"")


def test_ctrl_c_reaches_the_command_once() -> None:
    """At a terminal the command has its Ctrl-C already: a second one could end it cold."""
    command = ["--", sys.executable, "-c", COUNTING]
    with subprocess.Popen(
        [*TERMINAL, *DEV, *BARE, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert first_line(process) == "ready\r\n"
        stdout, _ = process.communicate(b"\x03", timeout=DEADLINE)
    assert stdout.decode().split() == ["^Cgot", "SIGINT", "ended", "after", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--", "no-such-command"], b"no-such-command"),
        (["--port", "65534", "--zookeepers", "3"], b"ports 65534 to 65536"),
    ],
)
def test_wrong_usage_is_refused_at_once(arguments: list[str], said: bytes) -> None:
    """What cannot work is said before anything is started."""
    done = dev(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


# --- alone ---------------------------------------------------------------------------------------


def test_serves_until_a_signal() -> None:
    """Stdout has the hosts string, which serves tasks; the signal ends everything, exit code 0."""
    (port,) = free_ports(1)
    with running("--port", str(port), "--executor", "echo") as process:
        hosts = first_line(process)
        assert hosts == f"127.0.0.1:{port}\n"
        with Client(hosts.strip()) as client:
            assert client.submit(b"hello", executor="echo").result(DEADLINE) == b"hello"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert stdout == b""
    assert f"export MWCTL_HOSTS=127.0.0.1:{port}\n".encode() in stderr
    assert b"submit --executor echo" in stderr
    assert port_is_free(port)


@pytest.mark.parametrize("servers", ["1", "3"])
def test_another_port_if_the_default_is_taken(servers: str) -> None:
    """When something listens on 2181, or begins to during the start, any free ports do."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # then somebody else listens there
            stack.enter_context(socket.create_server(("127.0.0.1", 2181)))
        with running(*BARE, "--zookeepers", servers) as process:
            hosts = first_line(process)
            assert hosts.count("127.0.0.1:") == int(servers)
            assert ":2181" not in hosts
            process.terminate()
            assert process.wait(DEADLINE) == 0


def test_death_is_reported(tmp_path: Path) -> None:
    """A worker that dies is named on stderr; when ZooKeeper dies, that is the end: exit code 69."""
    with running("--data-dir", str(tmp_path), "--executor", "echo") as process:
        hosts = first_line(process)
        (worker,) = pids(f"--hosts={hosts.strip()}\0--session-timeout=10.0\0--name=worker-1\0")
        os.kill(worker, signal.SIGKILL)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"mwctl: process worker-1 (pid {worker}) exited (SIGKILL)".encode()):
                break
        else:
            pytest.fail("the worker's death was not reported")
        (zookeeper,) = pids(f"{tmp_path}/zookeeper/zoo.cfg")
        os.kill(zookeeper, signal.SIGKILL)
        _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 69
    assert f"(pid {zookeeper}) exited (SIGKILL)".encode() in stderr


@pytest.mark.parametrize("end", ["TERM", "HUP", "QUIT", "HUP while it starts", "no terminal"])
def test_nothing_is_left_behind(end: str, tmp_path: Path) -> None:
    """However dev is told to end, no folder stays and no process; closing the terminal is one."""
    closed = end == "no terminal"
    with running(*BARE, wrapper=TERMINAL if closed else (), TMPDIR=str(tmp_path)) as process:
        if end == "HUP while it starts":
            eventually(lambda: list(tmp_path.iterdir()), what="it has its folder")
        else:
            assert first_line(process).startswith("127.0.0.1:")
            assert pids(f"{tmp_path}/")
        if closed:
            process.kill()  # the terminal's other end
        else:
            process.send_signal(signal.Signals[f"SIG{end.split()[0]}"])
            _, stderr = process.communicate(timeout=DEADLINE)
            assert process.returncode == 0, stderr
        eventually(lambda: not pids(f"{tmp_path}/"), what="no process is left")
        eventually(lambda: not list(tmp_path.iterdir()), what="no folder is left")


def test_nothing_outlives_dev(tmp_path: Path) -> None:
    """SIGKILL of dev itself takes everything it started along, and its folder."""
    with running("--executor", "echo", TMPDIR=str(tmp_path)) as process:
        hosts = first_line(process).strip()
        assert len(pids(f"--hosts={hosts}\0")) == 2
        process.kill()
        eventually(lambda: not pids(f"--hosts={hosts}\0"), what="master and worker are gone")
        port = int(hosts.rpartition(":")[2])
        eventually(lambda: port_is_free(port), what="ZooKeeper is gone")
        eventually(lambda: not list(tmp_path.iterdir()), what="no folder is left")


def test_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The error is the guilty process's own, and the exit code that of a bad configuration."""
    done = dev("--executor", "no-such-executor", TMPDIR=str(tmp_path))
    assert done.returncode == 78
    assert done.stdout == b""
    assert b"worker-1" in done.stderr
    assert b"no executor 'no-such-executor'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("servers", ["1", "3"])
def test_zookeeper_that_cannot_start_says_why(tmp_path: Path, servers: str) -> None:
    """The error ends with the last lines of the server's log, and the log is kept where asked."""
    java, logs = tmp_path / "java", tmp_path / "logs"
    java.write_text("#!/bin/sh\nseq 100000\necho no such option\nexit 3\n")
    java.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    done = dev(
        *("--zookeepers", servers, "--log-dir", str(logs)),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        TMPDIR=str(tmp_path / "tmp"),
    )
    assert done.returncode == 69
    assert b"exited with code 3; the end of its log:\n" in done.stderr
    assert done.stderr.endswith(b"\n100000\nno such option\n")
    assert len(done.stderr) < 1_000
    assert (logs / "zookeeper-1.log").read_text().endswith("no such option\n")
    assert not list((tmp_path / "tmp").iterdir())


def test_zookeeper_that_dies_during_the_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error shows the server's log, not that ZooKeeper does not answer."""
    make = Cluster._process

    def kill_and_make(cluster: Cluster, *arguments: Any) -> Process:
        cluster.zookeepers[0].kill()
        return make(cluster, *arguments)

    monkeypatch.setattr(Cluster, "_process", kill_and_make)
    with pytest.raises(
        Unavailable, match=r"ZooKeeper server .* exited with code -9; the end of its log"
    ):
        Cluster(workers=0).start()


def test_taken_port_is_named() -> None:
    """A port that was asked for and is taken is not replaced by another."""
    with socket.create_server(("127.0.0.1", *free_ports(1))) as taken:
        port = taken.getsockname()[1]
        done = dev("--port", str(port))
    assert done.returncode == 78
    assert f"127.0.0.1:{port}".encode() in done.stderr


# --- the cluster ---------------------------------------------------------------------------------


def test_data_dir_keeps_tasks_and_logs(tmp_path: Path) -> None:
    """A task submitted to one cluster is finished by the next one on the same directory."""
    with Cluster(workers=0, data_dir=tmp_path) as cluster, Client(cluster.hosts) as client:
        task_id = client.submit(b"kept", executor="echo").task_id
        client.flush(DEADLINE)
    with Cluster(executors=["echo"], data_dir=tmp_path) as cluster:
        session = Session(cluster.hosts)
        session.start()
        eventually(lambda: cluster.status().finished == 1, what="the task is finished")
        assert Inspection(session).result(task_id) == b"kept"
        session.close()
    assert "is the primary" in (tmp_path / "master-1.log").read_text()


def test_data_dir_has_one_cluster_at_a_time(tmp_path: Path) -> None:
    """Two ZooKeeper servers on one directory would ruin each other's data."""
    with (
        Cluster(masters=0, workers=0, data_dir=tmp_path),
        pytest.raises(BadConfiguration, match="another cluster is using"),
    ):
        Cluster(masters=0, workers=0, data_dir=tmp_path).start()


def test_backup_takes_over_from_a_killed_primary() -> None:
    """`primary()` is the process in office: another one, once the killed one's session is over."""
    with Cluster(masters=2, workers=0, session_timeout=5.0) as cluster:
        primary = cluster.primary()
        assert primary in cluster.masters
        assert primary is not None
        primary.kill()
        (other,) = [master for master in cluster.masters if master is not primary]
        eventually(lambda: cluster.primary() is other, what="the other one is in office")


def test_stopping_ends_every_process() -> None:
    """Paused ones too, and nothing is left behind on the disk."""
    with Cluster(executors=["echo"]) as cluster:
        directory, processes = cluster.log_dir, cluster.processes
        assert [process.name for process in cluster.workers] == ["worker-1"]
        cluster.workers[0].pause()
    assert not any(process.alive for process in processes)
    assert not directory.exists()
