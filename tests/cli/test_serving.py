"""`mwctl master` and `mwctl worker`: how they refuse to start, and how signals end them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from masterworker import Client, TaskFailed
from masterworker.dev.processes import Process, masterworker_command
from tests.cli.calling import mwctl
from tests.cli.conftest import Cluster, wait_for_workers
from tests.unit.throwaway_plugin import install
from tests.waiting import DEADLINE, eventually

LATCH = """
from masterworker import hookimpl

def run(payload, task):
    with open(payload, "rb") as fifo:
        return fifo.read()

@hookimpl
def masterworker_register_executors(register):
    register("latch", run)
"""
"""An executor that waits until somebody writes into the FIFO that the payload names."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """A worker of its own, whose one attempt ends when `finish` is called."""

    worker: Process
    task: str
    fifo: int

    def signal(self, number: signal.Signals) -> None:
        """Send the worker a signal."""
        os.kill(self.worker.pid, number)

    def finish(self, result: bytes) -> None:
        """Let the attempt come to its end, with this result."""
        os.write(self.fifo, result)
        os.close(self.fifo)


def read_by_somebody(fifo: Path) -> int:
    """The end of a FIFO that is written to, once somebody has opened the other; 0 until then."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


@pytest.fixture
def at_work(cluster: Cluster, tmp_path: Path) -> Iterator[AtWork]:
    """A worker whose one attempt has begun."""
    site = install(tmp_path, "latch", LATCH, distribution="latch", version="1")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = masterworker_command("worker", "--executor=latch", "--name=latch", "--slots=2")
    env = {"MWCTL_HOSTS": cluster.hosts, "PYTHONPATH": str(site)}
    with Process("latch", command, env, log=tmp_path / "log") as worker:
        call = ["submit", "--executor", "latch", "--payload", "-"]
        [task] = cluster.mwctl(*call, stdin=bytes(fifo)).lines
        yield AtWork(worker, task, eventually(lambda: read_by_somebody(fifo), what="it begins"))


def test_no_zookeeper_gives_69_within_10_seconds() -> None:
    """Nobody listens on port 1; the message says which hosts were tried.

    A command that connects to nobody, called beside, tells what starting costs on a busy machine.
    """
    calls = [["worker"], ["submit", "--payload", "-", "--wait"]]
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(lambda: (mwctl("plugins", "list"), time.monotonic())[1] - began)
        for ended in pool.map(lambda call: mwctl(*call, "--hosts", "127.0.0.1:1/some"), calls):
            assert (ended.code, ended.out) == (69, b"")
            assert "no ZooKeeper answered" in ended.err
            assert "127.0.0.1:1/some" in ended.err
    assert time.monotonic() - began < 10 + beside.result()


def test_unknown_executor_gives_78_and_names_what_there_is(tmp_path: Path) -> None:
    """The message has the executors there are, and the plugin that may have brought the one."""
    site = install(
        tmp_path, "mended", "import no_such_module", distribution="mended", version="1.2"
    )
    ended = mwctl("worker", "--executor", "mended", env={"PYTHONPATH": str(site)})
    assert (ended.code, ended.out) == (78, b"")
    assert "command, echo, python, read" in ended.err
    assert "plugin 'mended' (mended 1.2) could not be loaded" in ended.err
    assert "no_such_module" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "/nowhere.toml"],
        ["--name", "a/b"],
        ["--hosts", "host:port"],
        ["--task-user", "no-such-user"],
        ["--task-limit", "files=1"],
        ["--pass-env", "MWCTL_AUTH"],
    ],
)
def test_bad_configuration_gives_78(arguments: list[str]) -> None:
    """What the operator set wrong is said, without a traceback."""
    ended = mwctl("worker", *arguments)
    assert ended.code == 78, ended.err
    assert ended.err.splitlines()[-1].startswith("mwctl: error: ")


MEAN = """
import os, signal, sys, threading
from masterworker import hookimpl

print("noise on stdout")
if os.environ.get("MEAN") == "exit":
    os._exit(0)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
threading.Thread(target=threading.Event().wait).start()

@hookimpl
def masterworker_register_executors(register):
    register("mean", lambda payload, task: b"", inline=True)
"""


def test_a_plugin_neither_ends_nor_holds_the_commands_that_look_at_it(tmp_path: Path) -> None:
    """One that exits at import, prints or leaves a thread: JSON is clean, a worker of another
    executor starts, and one that is asked for it ends when it must."""
    site = install(tmp_path, "mean", MEAN, distribution="mean", version="1.2")
    env = {"PYTHONPATH": str(site), "MEAN": "exit"}
    sandboxed = mwctl("plugins", "list", "-o", "json", env=env)  # MEAN is none of its variables
    (row,) = (row for row in json.loads(sandboxed.out) if row["name"] == "mean")
    assert (row["status"], row["executors"]) == ("ok", ["mean"])
    nowhere = ["--hosts", "127.0.0.1:1"]
    passed = ["--pass-env", "MEAN"]
    ended = mwctl("worker", "--executor", "mean", *passed, *nowhere, env=env)
    assert ended.code == 78
    assert "plugin 'mean' (mean 1.2) could not be loaded: its process ended" in ended.err
    with ThreadPoolExecutor() as pool:  # each looks for a ZooKeeper for a while
        echo = pool.submit(mwctl, "worker", "--executor", "echo", *passed, *nowhere, env=env)
        mean = pool.submit(
            mwctl, "worker", "--executor", "mean", *nowhere, env=env | {"MEAN": "stay"}
        )
        assert [(one.result().code, one.result().out) for one in (echo, mean)] == [(69, b"")] * 2


def test_signals_end_a_worker_whose_plugin_ignored_them(cluster: Cluster, tmp_path: Path) -> None:
    """What an inline executor's plugin did to the worker's process at import is undone."""
    site = install(tmp_path, "mean", MEAN, distribution="mean", version="1.2")
    command = masterworker_command("worker", "--name", "mean", "--executor", "mean")
    env = {"MWCTL_HOSTS": cluster.hosts, "PYTHONPATH": str(site)}
    with Process("mean", command, env, log=tmp_path / "log") as worker:
        wait_for_workers(cluster, 2)
        os.kill(worker.pid, signal.SIGTERM)
        eventually(lambda: not worker.alive, what="it has ended")
        assert worker.exit_code == 0
    wait_for_workers(cluster, 1)


def test_a_configuration_is_checked_before_the_worker_connects(tmp_path: Path) -> None:
    """A function that is not there: exit code 78, the folders that were searched, no traceback."""
    config = tmp_path / "worker.toml"
    config.write_text('[executors.python]\nallow = ["throw_nowhere:f"]\n')
    ended = mwctl("worker", "--executor", "python", "--config", config)
    assert ended.code == 78
    assert f"[executors.python] of {config}: allow has 'throw_nowhere:f'" in ended.err
    assert "(searched: " in ended.err
    assert "Traceback" not in ended.err


def test_a_table_that_holds_a_time_limit_alone_is_checked_too(tmp_path: Path) -> None:
    """The name of its executor is misspelled: the worker logs that the table is not used."""
    config = tmp_path / "worker.toml"
    config.write_text("[executors.ecko]\ntime_limit = 60\n")
    wrong_hosts = ["--hosts", "127.0.0.1:x"]  # so that it ends at once
    ended = mwctl("worker", "--executor", "echo", "--config", config, *wrong_hosts)
    assert ended.code == 78
    assert f"[executors.ecko] of {config} is not used: this worker runs echo" in ended.err


def test_environment_names_several_executors(cluster: Cluster) -> None:
    """MWCTL_EXECUTOR holds them separated by blanks; it offers both and no other."""
    env = {"MWCTL_HOSTS": cluster.hosts, "MWCTL_EXECUTOR": "echo read", "MWCTL_SLOTS": "3"}
    command = masterworker_command("worker", "--name", "second")
    with Process("second", command, env, log=cluster.folder / "second.log"):
        wait_for_workers(cluster, 2)
        status = json.loads(cluster.mwctl("status", "-o", "json").out)
        [second] = [one for one in status["workers"] if one["id"].startswith("second-")]
        assert (second["executors"], second["slots"]) == (["echo", "read"], 3)
    wait_for_workers(cluster, 1)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@SIGNALS
def test_first_signal_lets_a_worker_finish(
    cluster: Cluster, at_work: AtWork, number: signal.Signals
) -> None:
    """The running attempt comes to its end, its result is recorded, and the worker exits with 0."""
    at_work.signal(number)
    eventually(lambda: "is draining" in at_work.worker.tail(), what="the worker drains")
    at_work.finish(b"done in time")
    assert at_work.worker.wait(DEADLINE) == 0
    assert cluster.mwctl("tasks", "result", at_work.task).out == b"done in time"


@SIGNALS
def test_second_signal_ends_a_worker_cold(
    cluster: Cluster, at_work: AtWork, number: signal.Signals
) -> None:
    """It does not wait for the attempt; the exit code tells the signal, the task is recovered."""
    at_work.signal(number)
    eventually(lambda: "is draining" in at_work.worker.tail(), what="the worker drains")
    at_work.signal(number)
    assert at_work.worker.wait(DEADLINE) == 128 + number
    cluster.wait_until("pending", at_work.task)
    os.close(at_work.fifo)


@SIGNALS
def test_a_signal_ends_a_master_at_once(hosts: str, tmp_path: Path, number: signal.Signals) -> None:
    """It leaves office and exits with 0; its log is JSON when that is asked for."""
    env = {"MWCTL_HOSTS": hosts, "MWCTL_LOG_FORMAT": "json"}
    with Process("master", masterworker_command("master"), env, log=tmp_path / "log") as master:
        eventually(lambda: "is the primary" in master.tail(), what="the master is the primary")
        os.kill(master.pid, number)
        assert master.wait(DEADLINE) == 0
        rows = [json.loads(line) for line in master.tail().splitlines()]
    assert {row["level"] for row in rows} == {"INFO"}
    assert json.loads(mwctl("status", "-o", "json", env=env).out)["primary"] is None


def test_a_fatal_error_is_a_json_line_in_a_json_log() -> None:
    """Whoever collects the log of a role as JSON can also parse why it ended."""
    ended = mwctl("worker", "--executor", "nosuch", "--log-format", "json")
    assert ended.code == 78
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert lines[-1]["level"] == "ERROR"
    assert "nosuch" in lines[-1]["message"]


UNKIND = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A parent that leaves a program with SIGCHLD ignored and every signal blocked."""

COMMANDS = """
[executors.command]
time_limit = 0.5
[executors.command.allow]
code = ["sh", "-c", "exit 3"]
signal = ["sh", "-c", "kill -9 $$"]
leave = ["sh", "-c", "sleep 600 & echo hi"]
hang = ["sleep", "600"]
"""


def test_an_unkind_parent_and_unkind_commands(hosts: str, tmp_path: Path) -> None:
    """What the parent ignored or blocked changes nothing: failures fail, and SIGTERM is heard.

    A command that leaves a process behind has its result, and one that hangs has its time limit.
    """
    config = tmp_path / "config.toml"
    config.write_text(COMMANDS)
    env = {"MWCTL_HOSTS": hosts}
    options = ["--executor=command", f"--config={config}", "--slots=1"]
    prefix = [sys.executable, "-c", UNKIND]
    with (
        Process("master", masterworker_command("master"), env, log=tmp_path / "master.log"),
        Process(
            "worker",
            [*prefix, *masterworker_command("worker", *options)],
            env,
            log=tmp_path / "worker.log",
        ) as worker,
        Client(hosts) as client,
    ):
        reasons = {
            name: client.submit(b"", executor="command", options={"command": name})
            for name in ("code", "signal", "hang")
        }
        left = client.submit(b"", executor="command", options={"command": "leave"})
        assert left.result(DEADLINE) == b"hi\n"
        failures = {name: future.exception(DEADLINE) for name, future in reasons.items()}
        assert "ended with exit code 3" in str(failures["code"])
        assert "was ended by SIGKILL" in str(failures["signal"])
        hanging = failures["hang"]
        assert isinstance(hanging, TaskFailed)
        assert (hanging.reason, "time limit of 0.5 s" in str(hanging)) == ("timed_out", True)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(DEADLINE) == 0
