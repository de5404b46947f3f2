"""`mwctl tasks wait` and `mwctl tasks result`: one task or many, and every exit code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from masterworker.dev.processes import masterworker_command
from masterworker.zookeeper.inspection import Inspection
from tests.cli.calling import OWN, mwctl
from tests.cli.conftest import NOWHERE, Cluster
from tests.integration.running import session


@pytest.fixture(scope="module")
def done(cluster: Cluster) -> str:
    """A task that is done."""
    task = cluster.submit("--executor", "echo")
    cluster.wait_until("done", task)
    return task


@pytest.mark.parametrize(
    ("tasks", "options", "code", "said"),
    [
        (["done"], [], 0, ""),
        (["failed", "done"], [], 3, "no such"),
        (["failed", "done"], ["--for", "finished"], 0, ""),
        (["failed", "done"], ["--for", "failed"], 1, "it is done"),
        (["failed"], ["--for", "failed"], 0, ""),
        (["failed", "done", "pending"], ["--any"], 0, ""),
        (["done", "nowhere"], [], 6, f"there is no task {NOWHERE}"),
        (["nowhere", "done"], ["--any"], 0, ""),
        (["done", "pending"], ["--timeout", "0.2"], 124, "no ready worker offers executor"),
        (["failed", "pending"], ["--any", "--timeout", "0.2"], 124, "1 of 2 tasks"),
    ],
)
def test_wait_has_a_code_for_each_end(
    cluster: Cluster,
    done: str,
    failed: str,
    pending: str,
    tasks: list[str],
    options: list[str],
    code: int,
    said: str,
) -> None:
    """All tasks have to be as wanted, or any; what is not is said on stderr."""
    known = {"done": done, "failed": failed, "pending": pending, "nowhere": NOWHERE}
    ended = cluster.mwctl("tasks", "wait", *(known[task] for task in tasks), *options)
    assert ended.code == code, ended.err
    assert said in ended.err
    assert bool(said) == bool(ended.err)


def test_wait_ends_when_the_task_does(cluster: Cluster, done: str, failed: str) -> None:
    """It is woken by the task's end, takes ids from stdin, and prints a row for each."""
    task = cluster.submit("--executor", "command", "--option", "command=gate")
    cluster.wait_until("assigned", task)
    command = masterworker_command("tasks", "wait", "-", "--for", "finished", "-o", "json")
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=OWN | {"MWCTL_HOSTS": cluster.hosts},
        text=True,
    ) as waiting:
        assert waiting.stdin is not None
        waiting.stdin.write(f"{task}\n{failed} {done}\n{task}\n")
        waiting.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.0)
        cluster.open_gate()
        assert waiting.wait(30) == 0
        assert waiting.stdout is not None
        rows = {row["id"]: row for row in json.loads(waiting.stdout.read())}
    assert rows.keys() == {task, failed, done}
    keys = {"id", "state", "executor", "worker", "reason", "why", "ended"}
    assert all(row.keys() == keys for row in rows.values())
    assert (rows[task]["state"], rows[task]["executor"]) == ("done", "command")
    assert (rows[failed]["state"], rows[failed]["reason"]) == ("failed", "failed")
    assert rows[failed]["why"].startswith("failed on worker ")


def test_results_of_many_tasks(
    cluster: Cluster, done: str, failed: str, pending: str, tmp_path: Path
) -> None:
    """Those there are go to stdout in order, or to a folder; the largest of the codes counts."""
    payload = (cluster.folder / "config.toml").read_bytes()
    other = cluster.submit("--executor", "echo")
    cluster.wait_until("done", other)
    both = cluster.mwctl("tasks", "result", done, other)
    assert (both.code, both.out, both.err) == (0, payload * 2, "")
    folder = tmp_path / "results"
    several = [done, failed, pending, NOWHERE, other]
    some = cluster.mwctl(
        "tasks", "result", "-", "--output", folder, stdin=" ".join(several).encode()
    )
    assert (some.code, some.out, some.err.count("\nmwctl")) == (7, b"", 2)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        done: payload,
        other: payload,
    }
    one = cluster.mwctl("tasks", "result", done, "--output", tmp_path / "one")
    assert (one.code, (tmp_path / "one").read_bytes()) == (0, payload)


def test_results_are_read_in_bulk(
    cluster: Cluster, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is there costs no request of its own."""
    with session(cluster.hosts) as ours:
        inspection = Inspection(ours)
        monkeypatch.setattr(inspection, "_find", None)
        found = dict(inspection.results([done]))
    assert found == {done: (cluster.folder / "config.toml").read_bytes()}


def test_submit_warns_where_no_master_is(hosts: str) -> None:
    """The task is accepted into a tree without a master, and waits."""
    ended = mwctl("submit", "--payload", "-", env={"MWCTL_HOSTS": hosts})
    assert ended.code == 0
    assert "warning: the task is waiting: there is no primary master" in ended.err
