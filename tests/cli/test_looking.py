"""`mwctl tasks`, `status` and `audit`: what they say, in words and in JSON, which is a contract."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest
from kazoo.client import KazooClient

from masterworker import Client, Unavailable, __version__
from masterworker.dev.processes import masterworker_command
from masterworker.dev.server import ZooKeeperServer
from tests.cli.calling import mwctl
from tests.cli.conftest import NOWHERE, Cluster


def as_json(cluster: Cluster, *arguments: object) -> Any:
    """What a command prints with -o json."""
    ended = cluster.mwctl(*arguments, "-o", "json")
    assert ended.err == ""
    return json.loads(ended.out)


def test_show_says_where_a_task_is_and_why(cluster: Cluster, pending: str, failed: str) -> None:
    """The keys of the contract, a sentence for a task that waits, evidence for one that failed."""
    waiting = as_json(cluster, "tasks", "show", pending)
    assert waiting.keys() >= {"id", "state", "executor", "worker", "attempts", "why"}
    assert waiting["state"] == "pending"
    assert waiting["worker"] is None
    assert "no ready worker offers executor 'nobodys'" in waiting["why"]
    ended = as_json(cluster, "tasks", "show", failed)
    assert ended["state"] == "failed"
    assert [attempt["reason"] for attempt in ended["attempts"]] == ["failed"]
    assert "no such \x1b[31mthing" in ended["attempts"][0]["detail"]


def test_show_for_people_cannot_drive_their_terminal(cluster: Cluster, failed: str) -> None:
    """What a task's program wrote is shown with its control characters as escapes."""
    shown = cluster.mwctl("tasks", "show", failed)
    assert shown.code == 0
    assert b"\\x1b[31mthing" in shown.out
    assert b"\x1b" not in shown.out


def test_list_filters_and_limits(cluster: Cluster, pending: str, failed: str) -> None:
    """Filters are applied before --limit; each format has the same tasks, the newest last."""
    listed = as_json(cluster, "tasks", "list", "--state", "failed", "--limit", "1")
    assert [row["id"] for row in listed] == [failed]
    every = as_json(cluster, "tasks", "list", "--limit", "0")
    assert every == sorted(every, key=lambda row: row["submitted"])
    older, newer = (row["id"] for row in every if row["id"] in (failed, pending))
    worker = listed[0]["worker"]
    client = pending.partition("-")[0]
    for options, expected in [
        (["--executor", "nobodys"], [pending]),
        (["--state", "pending", "--state", "failed"], [older, newer]),
        (["--worker", worker, "--state", "failed"], [failed]),
        (["--client", client, "--since", "1h"], [pending]),
        (["--until", "1h"], []),
        (["--until", "2001-09-09T01:46:40Z"], []),
    ]:
        found = as_json(cluster, "tasks", "list", *options)
        assert [row["id"] for row in found if row["id"] in (failed, pending)] == expected


def test_variables_do_not_filter_the_list(cluster: Cluster, pending: str, failed: str) -> None:
    """Variables named as filters, such as MWCTL_EXECUTOR set for a worker, hide no task."""
    filters = {"STATE": "done", "EXECUTOR": "echo read", "WORKER": "none", "CLIENT": "none"}
    filters |= {"SINCE": "0s", "UNTIL": "100d", "LIMIT": "1"}
    env = {f"MWCTL_{name}": value for name, value in filters.items()}
    listed = mwctl("tasks", "list", "-o", "json", env=env | {"MWCTL_HOSTS": cluster.hosts})
    assert (listed.code, listed.err) == (0, "")
    assert {pending, failed} <= {row["id"] for row in json.loads(listed.out)}


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_list_says_what_it_leaves_out(
    cluster: Cluster, pending: str, failed: str, form: str
) -> None:
    """Where the limit cuts the list, it is said on stderr; the newest tasks are kept."""
    states = ["--state", "pending", "--state", "failed", "--executor", "nobodys"]
    states += ["--executor", "command"]
    cut = cluster.mwctl("tasks", "list", *states, "--limit", "1", "-o", form)
    assert (cut.code, cut.err) == (
        0,
        "mwctl: showing the newest 1 of 2 tasks; use --limit 0 to list all\n",
    )
    [newer] = (task for task in (pending, failed) if task.encode() in cut.out)
    older = pending if newer == failed else failed
    for limit in ("2", "0"):
        whole = cluster.mwctl("tasks", "list", *states, "--limit", limit, "-o", form)
        assert whole.err == ""
        assert whole.out.index(older.encode()) < whole.out.index(newer.encode())


def test_list_has_the_keys_of_the_contract(cluster: Cluster, pending: str, failed: str) -> None:
    """In JSON, and in the columns of a table."""
    listed = as_json(cluster, "tasks", "list", "--state", "failed", "--limit", "1")
    assert listed[0].keys() >= {"id", "state", "executor", "worker", "attempts", "submitted"}
    lines = cluster.mwctl("tasks", "list", "-o", "jsonl").lines
    assert {json.loads(line)["id"] for line in lines} >= {pending, failed}
    head, *rows = cluster.mwctl("tasks", "list", "--state", "pending").lines
    assert head.split() == ["ID", "STATE", "EXECUTOR", "WORKER", "ATTEMPTS", "SUBMITTED"]
    assert [row.split()[:3] for row in rows] == [[pending, "pending", "nobodys"]]


def test_result_has_a_code_for_each_reason_why_there_is_none(
    cluster: Cluster, pending: str, failed: str
) -> None:
    """Not yet, never and not any more are told apart, and a failure has its reason."""
    for task, code, words in [
        (pending, 7, "pending"),
        (NOWHERE, 6, "there is no task"),
        ("no/id", 78, "is not a valid task id"),
        (failed, 3, "no such \\x1b[31mthing"),
    ]:
        ended = cluster.mwctl("tasks", "result", task)
        assert (ended.code, ended.out) == (code, b"")
        assert words in ended.err
    assert cluster.mwctl("tasks", "show", NOWHERE).code == 6


def test_status_is_the_contract(cluster: Cluster, pending: str) -> None:
    """Who is primary, who works, and how many tasks are where."""
    status = as_json(cluster, "status")
    assert status["primary"].keys() >= {"id", "host", "pid", "epoch"}
    assert [master["id"] for master in status["masters"]] == [status["primary"]["id"]]
    [worker] = status["workers"]
    assert worker["executors"] == ["command", "echo", "read"]
    assert (worker["state"], worker["slots"], worker["inline_slots"]) == ("ready", 2, 0)
    assert (worker["version"], status["masters"][0]["version"]) == (__version__, __version__)
    assert time.time() - 600 < worker["started"] < time.time()
    assert worker["unavailable"] == {}
    assert status["tasks"].keys() >= {"pending", "assigned", "finished"}
    assert status["tasks"]["pending"] >= 1
    table = cluster.mwctl("status").out.decode()
    head, row = (line.split() for line in table.splitlines()[-2:])
    assert head[:8] == ["ID", "HOST", "PID", "VERSION", "UP", "STATE", "SLOTS", "ASSIGNED"]
    assert (row[0], row[3]) == (worker["id"], __version__)
    assert "0/2" in row
    assert f"Primary: {status['primary']['id']}, epoch 1" in table


def test_audit_balances_the_books(cluster: Cluster, pending: str, failed: str) -> None:
    """On a cluster that has kept its promises it says so, with all the numbers."""
    report = as_json(cluster, "audit")
    assert report["ok"] is True
    assert report["findings"] == []
    counts = ["accepted", "taken", "pending", "assigned", "finished", "expired", "lost"]
    assert report.keys() >= {*counts, "recorded_twice", "quarantined"}
    assert report["accepted"] == sum(report[count] for count in counts[1:])
    assert "\nNo problems found.\n" in cluster.mwctl("audit").out.decode()


def test_audit_exits_with_1_when_the_books_do_not_balance(hosts: str, cluster: Cluster) -> None:
    """A task that somebody deletes is found missing; the cluster it is taken from has no master."""
    env = {"MWCTL_HOSTS": hosts}
    [task] = mwctl("submit", "--payload", "-", env=env).lines
    kazoo = KazooClient(hosts)
    kazoo.start()
    kazoo.delete(f"/tasks/{task}")
    kazoo.create("/tasks/\u202eksat")
    kazoo.stop()
    kazoo.close()
    ended = mwctl("audit", "-o", "json", env=env)
    assert (ended.code, json.loads(ended.out)["lost"]) == (1, 1)
    table = mwctl("audit", env=env)
    assert table.code == 1
    assert "1 of 1 accepted tasks are lost" in table.out.decode()
    assert "/tasks/\\u202eksat: its name is not one that masterworker uses" in table.out.decode()


EVERYTHING = ["status", "audit", "tasks list", f"tasks show {NOWHERE}", f"tasks result {NOWHERE}"]
EVERYTHING += ["acl show", "submit --payload -"]
"""Commands that need a cluster."""


@pytest.mark.parametrize("command", EVERYTHING)
def test_chroot_that_leads_nowhere_is_no_healthy_cluster(
    server: ZooKeeperServer, nowhere: str, eyes: KazooClient, command: str
) -> None:
    """A typo is told, with what to check; it creates nothing. Another program's tree is none."""
    for there in (False, True):
        if there:
            eyes.create(f"{nowhere}/brokers/topics", makepath=True)
        ended = mwctl(*command.split(), env={"MWCTL_HOSTS": server.hosts + nowhere})
        assert (ended.code, ended.out) == (69, b"")
        assert f"no cluster at {server.hosts}{nowhere}: {nowhere} " in ended.err
        assert "Check the path at the end of the hosts string" in ended.err
        assert eyes.exists(nowhere) is None or eyes.get_children(nowhere) == ["brokers"]


def test_python_client_finds_no_cluster_at_a_wrong_path(
    server: ZooKeeperServer, nowhere: str, eyes: KazooClient
) -> None:
    """It raises at once instead of making a tree to which no master comes."""
    with pytest.raises(Unavailable, match=f"{nowhere} does not exist"):
        Client(server.hosts + nowhere)
    assert eyes.exists(nowhere) is None


def test_tree_that_lacks_a_folder_is_not_healthy(
    hosts: str, chroot: str, eyes: KazooClient
) -> None:
    """A folder that somebody deleted is a finding to an audit, and stops everything else."""
    eyes.delete(f"{chroot}/tasks")
    ended = mwctl("status", env={"MWCTL_HOSTS": hosts})
    assert (ended.code, "/tasks is missing" in ended.err) == (69, True)
    ended = mwctl("audit", env={"MWCTL_HOSTS": hosts})
    assert (ended.code, b"/tasks" in ended.out) == (1, True)
    with pytest.raises(Unavailable, match="/tasks is missing"):
        Client(hosts)


def test_cluster_that_never_ran_is_empty(hosts: str) -> None:
    """A tree with its folders and without a master can be looked at."""
    env = {"MWCTL_HOSTS": hosts}
    status = json.loads(mwctl("status", "-o", "json", env=env).out)
    assert (status["primary"], status["workers"]) == (None, [])
    assert mwctl("tasks", "list", "-o", "json", env=env).out == b"[]\n"
    assert mwctl("audit", env=env).code == 0


def test_reader_that_goes_away_ends_it_quietly(cluster: Cluster, pending: str) -> None:
    """A closed pipe, as after `| head`, leaves no traceback."""
    command = masterworker_command("tasks", "list", f"--hosts={cluster.hosts}", "-o", "jsonl")
    reader, writer = os.pipe()
    os.close(reader)  # before it starts: however slow we are, it finds nobody there
    try:
        ended = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")
