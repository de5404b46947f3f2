"""An outcome that a worker cannot record is set aside or waits; the worker continues."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from kazoo.client import KazooClient

from masterworker import TaskContext
from masterworker.execution.attempts import Outcome
from masterworker.roles.clerk import Clerk, Held
from masterworker.words import records
from masterworker.words.errors import PayloadTooLarge
from masterworker.words.executor import Executor
from masterworker.words.limits import MAX_PAYLOAD
from masterworker.words.model import Ledger, Task
from masterworker.zookeeper import batches
from masterworker.zookeeper.operations import Operation
from masterworker.zookeeper.replies import Verdict
from masterworker.zookeeper.session import Session
from tests.integration.running import tree, worker
from tests.waiting import eventually

CLIENT = "0123456789abcdef"


def _fail(payload: bytes, _task: TaskContext) -> bytes:
    raise ValueError(f"no {payload[:20].decode()}\x1b[31m")


FAIL = Executor("fail", _fail, inline=True)
ECHO = Executor("echo", lambda payload, _task: payload, inline=True)


def plant(kazoo: KazooClient, number: int, payload: bytes, executor: str = "fail") -> str:
    """Give the only worker a task, past the master; returns the task's id."""
    [name] = eventually(lambda: kazoo.get_children("/assign"), what="the worker is there")
    kazoo.ensure_path("/status")
    if not kazoo.exists(f"/status/{CLIENT}"):
        kazoo.create(f"/status/{CLIENT}", records.encode_ledger(Ledger(accepted=9)))
    head = records.task_head(Task("", executor, attempts=3))
    kazoo.create(f"/assign/{name}/{CLIENT}-{number}", head + payload)
    return f"{CLIENT}-{number}"


def test_a_record_without_room_for_its_next_one_ends_no_worker(
    hosts: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A payload that no record of ours can hold is quarantined before it runs."""
    with worker(hosts, FAIL, ECHO), tree(hosts) as kazoo:
        plant(kazoo, 1, bytes(950_000))
        plant(kazoo, 2, b"fine", "echo")
        eventually(lambda: kazoo.exists(f"/status/{CLIENT}/2"), what="the other task is done")
        assert f"limit is {MAX_PAYLOAD:,}" in caplog.text
        assert "attempt 1 of" not in caplog.text


def test_an_outcome_that_cannot_be_written_is_set_aside(
    hosts: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the record's encoder objects to, the rest of the batch goes through."""
    settle = Clerk.settle

    def refuse(self: Clerk, held: Held, outcome: Outcome) -> batches.Unit[str]:
        if held.payload == b"bad":
            raise PayloadTooLarge("too much of it")
        return settle(self, held, outcome)

    monkeypatch.setattr(Clerk, "settle", refuse)
    with worker(hosts, ECHO), tree(hosts) as kazoo:
        plant(kazoo, 1, b"bad", "echo")
        for number in (2, 3):
            plant(kazoo, number, b"fine", "echo")
        for number in (2, 3):
            eventually(lambda: kazoo.exists(f"/status/{CLIENT}/{number}"), what="it is done")  # noqa: B023
        eventually(lambda: "next record cannot be written: too much" in caplog.text)
        assert not kazoo.exists(f"/status/{CLIENT}/1")


def test_a_failed_attempt_is_one_warning(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    """It names task, executor, attempt, reason and seconds, and the exception's own line."""
    with worker(hosts, FAIL), tree(hosts) as kazoo:
        task = plant(kazoo, 1, b"luck")
        eventually(lambda: kazoo.exists(f"/tasks/{task}"), what="it is back in the queue")
        eventually(lambda: "attempt 1 of 3" in caplog.text)
    [record] = [one for one in caplog.records if "attempt 1 of 3" in one.getMessage()]
    assert record.levelname == "WARNING"
    assert "of executor fail failed after" in record.getMessage()
    assert "ValueError: no luck" in record.getMessage()
    fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
    assert (fields["task"], fields["attempt"], fields["attempts"]) == (task, 1, 3)
    assert (fields["executor"], fields["reason"]) == ("fail", "failed")


def test_a_folder_that_is_gone_is_made_again(hosts: str) -> None:
    """Without /tasks a task that failed could not go back: the worker makes it."""
    with worker(hosts, FAIL), tree(hosts) as kazoo:
        eventually(lambda: kazoo.get_children("/assign"))
        kazoo.delete("/tasks", recursive=True)
        task = plant(kazoo, 1, b"luck")
        eventually(lambda: kazoo.exists(f"/tasks/{task}"), what="it is back in the queue")


def test_a_folder_that_stays_away_is_asked_for_seldom(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker waits longer each time, and records the task once the folder is there."""
    counts: Counter[str] = Counter()
    commit = batches.commit

    def count(*arguments: Any) -> Any:
        counts["commits"] += 1
        return commit(*arguments)

    with worker(hosts, FAIL), tree(hosts) as kazoo:
        eventually(lambda: kazoo.get_children("/assign"))
        monkeypatch.setattr(batches, "commit", count)
        monkeypatch.setattr(Session, "ensure_tree", lambda _: None)
        kazoo.delete("/tasks", recursive=True)
        task = plant(kazoo, 1, b"luck")
        eventually(lambda: counts["commits"] >= 2)
        until = time.monotonic() + 1
        eventually(lambda: time.monotonic() > until)
        assert counts["commits"] <= 8
        kazoo.create("/tasks")
        eventually(lambda: kazoo.exists(f"/tasks/{task}"), what="it is back in the queue")


def test_many_tasks_without_a_folder_are_repaired_together(
    hosts: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client's folder is gone: it is created once, with one log line, not once per task."""
    counts: Counter[str] = Counter()
    ensure_tree, commit = Session.ensure_tree, Session.commit

    def ensure(self: Session) -> None:
        counts["ensure_tree"] += 1
        ensure_tree(self)

    def count(self: Session, operations: Sequence[Operation]) -> Verdict:
        counts.update(operation.path for operation in operations)
        return commit(self, operations)

    clients = [CLIENT, CLIENT[::-1]]
    with worker(hosts, ECHO), tree(hosts) as kazoo:
        [name] = eventually(lambda: kazoo.get_children("/assign"), what="the worker is there")
        monkeypatch.setattr(Session, "ensure_tree", ensure)
        monkeypatch.setattr(Session, "commit", count)
        together = kazoo.transaction()
        for client, number in product(clients, range(1, 51)):
            record = records.task_head(Task("", "echo"))
            together.create(f"/assign/{name}/{client}-{number}", record)
        together.commit()

        def all_recorded() -> bool:
            folders = [f"/status/{client}" for client in clients]
            return all(
                kazoo.exists(folder) and len(kazoo.get_children(folder)) == 50 for folder in folders
            )

        eventually(all_recorded, what="all outcomes are recorded")
    assert counts["ensure_tree"] <= 2
    assert [counts[f"/status/{client}"] for client in clients] == [1, 1]
    assert caplog.text.count("folder is gone") <= 2
