"""The counts of a cluster while it works."""

from __future__ import annotations

from typing import Any

import pytest
from kazoo.security import make_acl

from masterworker import Client
from masterworker.words import paths, records
from masterworker.words.model import Master, Task, Worker
from masterworker.zookeeper.session import Session
from tests.integration.running import SESSION_TIMEOUT, cluster, inspection, tree

TASKS = 3000


def test_status_never_misses_a_task(hosts: str) -> None:
    """A task that moves while it is counted is in at least one of the places."""
    with (
        Client(hosts, session_timeout=SESSION_TIMEOUT, acknowledge=True) as client,
        inspection(hosts) as view,
    ):
        futures = client.submit_many([b""] * TASKS, executor="echo")
        client.flush(20.0)
        assert view.status().pending == TASKS
        with cluster(hosts):
            while not all(future.done() for future in futures):
                status = view.status()
                seen = status.pending + sum(status.assigned.values()) + status.finished
                assert seen >= TASKS
        client.acknowledge(*futures)


def test_folder_that_nobody_may_read_does_not_keep_the_rest_from_being_counted(hosts: str) -> None:
    """It counts as empty."""
    with tree(hosts) as kazoo, inspection(hosts) as view:
        kazoo.create("/assign/closed", acl=[make_acl("world", "anyone", create=True)])
        kazoo.create("/assign/closed/task", b"")
        kazoo.create("/assign/open/task", b"", makepath=True)
        kazoo.create("/tasks/task", b"")
        status = view.status()
    assert (status.pending, dict(status.assigned)) == (1, {"closed": 0, "open": 1})


def test_both_bounds_of_a_worker_are_counted(hosts: str) -> None:
    """Status says what is taken of each, and agrees with why a task waits."""
    offers = {"echo": True, "command": False}
    waiting = paths.task_id("0" * 16, 1)
    with tree(hosts) as kazoo, inspection(hosts) as view:
        kazoo.create("/master", records.encode_master(Master("m", "host", 1)), ephemeral=True)
        for name, executors in (("mixed", offers), ("plain", {"command": False})):
            worker = Worker(executors, 4_002 if name == "mixed" else 2, 2, started=1.0, version="7")
            kazoo.create(f"/workers/{name}", records.encode_worker(worker))
            kazoo.create(f"/assign/{name}")
        for number, executor in enumerate(["command", "echo", "echo", "command"], 1):
            task = Task(paths.task_id("f" * 16, number), executor)
            kazoo.create(f"/assign/mixed/{task.id}", records.encode_task(task, b"x"))
        kazoo.create("/assign/plain/unreadable", b"\xc1MW")
        kazoo.create("/assign/plain/another", b"\xc1MW")
        kazoo.create(paths.task(waiting), records.encode_task(Task(waiting, "command"), b""))
        mixed, plain = view.status().to_dict()["workers"]
        why = view.task(waiting).why
    assert (mixed["slots"], mixed["inline_slots"]) == (2, 4_000)
    assert (mixed["assigned"], mixed["assigned_inline"]) == (4, 2)
    assert (mixed["version"], mixed["started"]) == ("7", 1.0)
    assert (plain["slots"], plain["inline_slots"]) == (2, 0)
    assert (plain["assigned"], plain["assigned_inline"]) == (2, 0), "without reading its tasks"
    assert "every slot of all 2 workers offering executor 'command' is taken" in why


def test_why_a_task_waits_is_found_without_reading_what_is_assigned(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not offer the executor, or only one kind, is not looked into."""
    waiting = paths.task_id("0" * 16, 1)
    with tree(hosts) as kazoo, inspection(hosts) as view:
        kazoo.create("/master", records.encode_master(Master("m", "host", 1)), ephemeral=True)
        for name, offers in (("other", {"echo": True, "python": False}), ("able", {"c": False})):
            kazoo.create(f"/workers/{name}", records.encode_worker(Worker(offers, 4, 2)))
            kazoo.create(f"/assign/{name}")
            for number in range(1, 4):
                task = Task(paths.task_id("f" * 16, number), next(iter(offers)))
                kazoo.create(f"/assign/{name}/{task.id}", records.encode_task(task, b"x"))
        kazoo.create(paths.task(waiting), records.encode_task(Task(waiting, "c"), b""))
        asked: list[str] = []
        send = Session.send

        def spy(self: Session, request: Any, what: str) -> Any:
            asked.append(request.serialize().decode(errors="replace"))
            return send(self, request, what)

        monkeypatch.setattr(Session, "send", spy)
        why = view.task(waiting).why
    assert "every slot of the only worker offering executor 'c' is taken" in why
    assert not [request for request in asked if "f" * 16 in request]
