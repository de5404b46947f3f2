"""A cluster of real processes for the tests of a module: one master, one worker."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from masterworker import Unavailable
from masterworker.dev.processes import Process, masterworker_command
from masterworker.dev.server import ZooKeeperServer
from tests.cli.calling import Ended, mwctl
from tests.waiting import eventually

CONFIGURATION = """
[executors.command.allow]
gate = ["cat", "{gate}"]
fail = ["sh", "-c", "printf 'no such \\\\033[31mthing' >&2; exit 7"]
"""


NOWHERE = "0123456789abcdef-1"
"""A task id that no client of these tests has."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster. A task of `command` with the option `command=gate` waits for `open_gate`;
    one with `command=fail` fails."""

    hosts: str
    folder: Path

    def mwctl(self, *arguments: object, stdin: bytes = b"") -> Ended:
        """Call `mwctl` for this cluster."""
        return mwctl(*arguments, stdin=stdin, env={"MWCTL_HOSTS": self.hosts})

    def submit(self, *arguments: object) -> str:
        """Submit a task without waiting for its result; returns its id."""
        ended = self.mwctl("submit", "--payload", self.folder / "config.toml", *arguments)
        assert ended.code == 0, ended.err
        return ended.out.decode().strip()

    def open_gate(self) -> None:
        """Let a task that waits at the gate come to its end, with the result b'passed'."""
        with (self.folder / "gate").open("wb") as gate:
            gate.write(b"passed")

    def wait_until(self, state: str, task: str) -> None:
        """Wait until a task is in this state."""
        eventually(lambda: self.state(task) == state, what=f"task {task} is {state}")

    def state(self, task: str) -> str:
        """A task's state."""
        shown = json.loads(self.mwctl("tasks", "show", task, "-o", "json").out or "{}")
        return str(shown.get("state"))


@pytest.fixture(scope="module")
def cluster(server: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master, and a worker of two slots that offers `read`, `echo` and `command`."""
    folder = tmp_path_factory.mktemp("cluster")
    os.mkfifo(folder / "gate")
    (folder / "config.toml").write_text(CONFIGURATION.format(gate=folder / "gate"))
    running = Cluster(f"{server.hosts}/cli-{secrets.token_hex(4)}", folder)
    env = {"MWCTL_HOSTS": running.hosts}
    options = [f"--executor={name}" for name in ("read", "echo", "command")]
    options += ["--slots=2", f"--config={folder / 'config.toml'}"]
    with (
        Process("master", masterworker_command("master"), env, log=folder / "master.log"),
        Process("worker", masterworker_command("worker", *options), env, log=folder / "worker.log"),
    ):
        wait_for_workers(running, 1)
        yield running


def wait_for_workers(cluster: Cluster, count: int) -> None:
    """Wait until the cluster has a primary and this many workers."""

    def there() -> bool:
        ended = cluster.mwctl("status", "-o", "json")
        if ended.code == Unavailable.exit_code:  # the tree is still being created
            return False
        status = json.loads(ended.out)
        return bool(status["primary"]) and len(status["workers"]) == count

    eventually(there, what=f"a primary and {count} workers")


@pytest.fixture(scope="module")
def failed(cluster: Cluster) -> str:
    """A task that has failed."""
    task = cluster.submit("--executor", "command", "--option", "command=fail")
    cluster.wait_until("failed", task)
    return task


@pytest.fixture(scope="module")
def pending(cluster: Cluster) -> str:
    """A task that waits for an executor nobody has."""
    return cluster.submit("--executor", "nobodys")
