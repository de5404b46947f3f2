"""Old and new side by side: each reads what the other writes, to the same meaning."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given

from masterworker.decisions import life
from masterworker.words import book, records
from masterworker.words.model import (
    FINISHED,
    Attempt,
    Ledger,
    Master,
    Reason,
    State,
    Status,
    Task,
    Worker,
    WorkerState,
)
from tests.unit import first_version, strategies

CLIENT = "00c0ffee00c0ffee"
THEN = 1767225600.0  # the first second of 2026

A, B, C = (f"host-{letter}-0123456789ab" for letter in "abc")
LOST = Attempt(A, Reason.LOST)
CRASHED = Attempt(B, Reason.CRASHED, "exit code -11 (SIGSEGV)", THEN + 1, THEN + 2.5)
FAILED = Attempt(C, Reason.FAILED, "ValueError: no such thing", THEN + 3, THEN + 4)
OUT_OF_MEMORY = Attempt(C, Reason.OUT_OF_MEMORY, "", THEN + 5, THEN + 10)
TIMED_OUT = Attempt(C, Reason.TIMED_OUT, "after 5 s", THEN + 5, THEN + 10)

TASKS = {
    "task": (Task(f"{CLIENT}-1", "echo", THEN), b"hello"),
    "task-full": (
        Task(f"{CLIENT}-2", "echo", THEN, 3, {"shell": "no", "größe": "ß"}, (LOST, CRASHED)),
        bytes(range(256)),
    ),
    "task-attempts": (Task(f"{CLIENT}-3", "echo", THEN, 16), b""),
    "task-lost": (Task(f"{CLIENT}-4", "echo", THEN, history=(LOST,) * 4), b"four workers died"),
    "task-raw": (Task("task-0000000001", "read", history=(LOST,), raw=True), b"cmd"),
}
STATUSES = {
    "status-done": (Status(State.DONE, "echo", A, THEN, THEN + 1, THEN + 2), b"result"),
    "status-done-after-failures": (
        Status(State.DONE, "echo", A, THEN, THEN + 1, THEN + 2, history=(FAILED,)),
        b"second time lucky",
    ),
    "status-failed": (
        Status(
            State.FAILED, "echo", C, THEN, THEN + 5, THEN + 10, Reason.TIMED_OUT,
            (LOST, CRASHED, FAILED, OUT_OF_MEMORY, TIMED_OUT),
        ),
        b"",
    ),
    "status-lost": (
        Status(State.FAILED, "echo", A, THEN, None, THEN + 9, Reason.LOST, (LOST,) * 5),
        b"",
    ),
    "status-expired": (
        Status(State.FAILED, "echo", "", THEN, None, THEN + 9, Reason.EXPIRED),
        b"",
    ),
}  # fmt: skip
WORKERS = {
    "worker-ready": Worker({"echo": True, "read": False}, 12, 4, "host", 17, "0.1.0", started=THEN),
    "worker-draining": Worker(
        {"echo": True}, 1, 0, "host", 17, "0.1.0", WorkerState.DRAINING, THEN
    ),
}
LEDGERS = {
    "ledger": Ledger(9, 4, 2, 7),
    "ledger-new": Ledger(),
    "ledger-large": Ledger(2**40, 2**39, 2**38, 2**33),
}
KINDS = {"task": "t", "status": "s", "worker": "w", "master": "m", "ledger": "l"}
ALL = sorted(path.stem for path in first_version.RECORDS.glob("*.bin"))

READ = {
    "t": lambda data: book.task_in(f"{CLIENT}-1", data),
    "s": records.decode_status,
    "w": records.decode_worker,
    "m": records.decode_master,
    "l": records.decode_ledger,
}


# --- what the first version wrote ----------------------------------------------------------------


def test_every_kept_record_has_its_meaning() -> None:
    """None lies about unread; and each kind of record is among them."""
    assert set(ALL) == {*TASKS, *STATUSES, *WORKERS, *LEDGERS, "master"}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_read(name: str) -> None:
    """A pending task, with its history, options and payload."""
    task, payload = TASKS[name]
    data = first_version.record(name)
    assert book.task_in(task.id, data) == task
    assert book.payload_in(data) == payload


@pytest.mark.parametrize("name", STATUSES)
def test_statuses_are_read(name: str) -> None:
    """A status, with its history and result."""
    status, result = STATUSES[name]
    data = first_version.record(name)
    assert records.decode_status(data) == status
    assert records.body(data) == result


def test_announcements_and_books_are_read() -> None:
    """Workers, a master, ledgers."""
    for name, worker in WORKERS.items():
        assert records.decode_worker(first_version.record(name)) == worker
    for name, ledger in LEDGERS.items():
        assert records.decode_ledger(first_version.record(name)) == ledger
    found = records.decode_master(first_version.record("master"))
    assert found == Master("host-01234567", "host", 18, "0.1.0", THEN)


@pytest.mark.parametrize("name", ALL)
def test_the_frozen_reader_is_the_first_version_s(name: str) -> None:
    """It understands what its own version wrote, to the last field."""
    kind = KINDS[name.partition("-")[0]]
    data = first_version.record(name)
    assert first_version.reads(data, kind) == first_version.header(data)[1]


# --- what the first version can read -------------------------------------------------------------


@given(strategies.tasks, strategies.payloads)
def test_new_tasks_can_be_read_by_the_first_version(task: Task, payload: bytes) -> None:
    """Whatever a client or a master of today writes as a task."""
    header = first_version.reads(records.encode_task(task, payload), "t")
    assert header["executor"] == task.executor
    assert len(header.get("history", [])) == len(task.history)


@given(strategies.statuses, strategies.payloads)
def test_new_statuses_can_be_read_by_the_first_version(status: Status, result: bytes) -> None:
    """Whatever a worker or a master of today records."""
    assert first_version.reads(records.encode_status(status, result), "s")["state"] == status.state


@given(strategies.workers, strategies.masters, strategies.ledgers)
def test_new_announcements_and_books_can_be_read_by_the_first_version(
    worker: Worker, master: Master, ledger: Ledger
) -> None:
    """Workers, masters and ledgers of today."""
    assert first_version.reads(records.encode_worker(worker), "w")["slots"] == worker.slots
    assert first_version.reads(records.encode_master(master), "m")["id"] == master.id
    assert first_version.reads(records.encode_ledger(ledger), "l")["batch"] == ledger.batch


def test_what_it_must_not_ignore_it_does_not_read() -> None:
    """A sealed payload would be run as it is by whoever takes it for an open one."""
    for data in (
        records.encode_task(Task(f"{CLIENT}-1", "echo", THEN, sealed="key"), b"sealed"),
        records.encode_status(Status(State.DONE, "echo", A, THEN, sealed="key"), b"sealed"),
    ):
        with pytest.raises(AssertionError):
            first_version.header(data)


NEWER_WORDS: dict[str, str] = {}
"""States and reasons that the first version cannot read, each with why that does no harm: a client
that meets one leaves the status alone, and its future ends saying so."""


def test_no_new_words_where_the_first_version_knows_all() -> None:
    """A new state or reason makes a status unreadable for the first version: only knowingly."""
    known = first_version.STATES | first_version.REASONS | first_version.WORKER_STATES
    written = {word.value for word in (*FINISHED, *Reason, *WorkerState)}
    assert written - known == NEWER_WORDS.keys()
    assert known <= written


# --- keys nobody knows ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [None, True, 1, "text", b"bytes", [1, [2]], {"deep": {"er": 1}}])
def test_unknown_keys_change_nothing(name: str, value: Any) -> None:
    """A key that a newer program added is ignored, whatever it holds; the rest means the same."""
    data = first_version.record(name)
    kind, fields, body = first_version.header(data)
    packed = msgpack.packb({"new": value, **fields})
    newer = data[:5] + len(packed).to_bytes(2, "big") + packed + body
    assert READ[kind](newer) == READ[kind](data)
    assert book.payload_in(newer) == body


def test_keys_are_carried_along_and_dropped_when_written_anew() -> None:
    """Assigning copies a record as it is; a task that lost an attempt is written without them."""
    data = first_version.record("task")
    _, fields, body = first_version.header(data)
    packed = msgpack.packb({"new": 1, **fields})
    newer = data[:5] + len(packed).to_bytes(2, "big") + packed + body
    task = book.task_in(f"{CLIENT}-1", newer)
    assert life.assign(task, "w").same_record
    recovered = life.recover(task, "w", None, THEN)
    assert not recovered.same_record
    anew = book.task_data(recovered.task, book.payload_in(newer))
    assert first_version.header(anew)[1].keys() == {"executor", "submitted", "history"}
