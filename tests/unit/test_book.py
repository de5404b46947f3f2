"""The book's protocol: what a znode without our mark means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.words import book, limits, records
from masterworker.words.errors import BadRecord
from masterworker.words.model import Attempt, Reason, State, Status, Task, Worker
from tests.unit import strategies

LOSS = Attempt("w", Reason.LOST)
RAW = Task("task-0000000001", book.EXECUTOR, raw=True)


@given(st.binary().filter(lambda data: not records.is_record(data)))
def test_any_data_without_the_mark_is_a_task_for_read(data: bytes) -> None:
    """The data is the payload, as it is."""
    assert book.task_in(RAW.id, data) == RAW
    assert book.payload_in(data) == data


@given(st.text())
def test_no_text_bears_the_mark(text: str) -> None:
    """Whatever text a book's client submits, it cannot be taken for a record."""
    assert not records.is_record(text.encode(errors="replace"))


@given(strategies.tasks.map(lambda task: task._replace(raw=False)), strategies.payloads)
def test_a_record_is_read_as_one(task: Task, payload: bytes) -> None:
    """A task of our own clients is told by its mark, and its payload lies behind the header."""
    data = records.encode_task(task, payload)
    assert book.task_in(task.id, data) == task
    assert book.payload_in(data) == payload


def test_a_record_under_a_foreign_name_is_refused() -> None:
    """A task record needs a task id of ours: its status path follows from the id."""
    data = records.encode_task(Task("x", "echo"), b"")
    with pytest.raises(BadRecord, match="task-0000000001"):
        book.task_in("task-0000000001", data)


def test_a_raw_task_with_a_history_keeps_its_name() -> None:
    """A book's task that lost a worker is a record by then, under the name it always had."""
    task = RAW._replace(history=(LOSS,))
    data = book.task_data(task, b"payload")
    assert records.is_record(data)
    assert book.task_in(RAW.id, data) == task
    assert book.payload_in(data) == b"payload"


def test_a_raw_task_stays_plain_until_it_has_a_history() -> None:
    """The book's workers find in an assignment exactly what the book's client wrote."""
    assert book.task_data(RAW, b"payload") == b"payload"
    after_a_loss = RAW._replace(history=(LOSS,))
    assert book.task_data(after_a_loss, b"payload", for_book_worker=True) == b"payload"


def test_a_task_of_ours_is_always_a_record() -> None:
    """Without its record a task of ours would lose its executor."""
    task = Task("0123456789abcdef-1", "echo")
    assert records.is_record(book.task_data(task, b"payload"))


@pytest.mark.parametrize("data", [b"Idle", b"", b"Working", b"\xff\xfe"])
def test_a_worker_of_the_books_offers_read(data: bytes) -> None:
    """Any data without the mark announces a worker for `read`, with a bounded number of tasks."""
    worker = book.worker_in(data)
    assert worker == Worker({"read": True}, limits.BOOK_SLOTS, 0, book=True)


@given(strategies.workers)
def test_a_worker_of_ours_is_none_of_the_books(worker: Worker) -> None:
    """An announcement with the mark is read as a record."""
    assert book.worker_in(records.encode_worker(worker)) == worker


def test_broken_records_are_refused() -> None:
    """What bears the mark and is no record is refused, not taken for a raw task or worker."""
    with pytest.raises(BadRecord):
        book.task_in("task-0000000001", records.MARK)
    with pytest.raises(BadRecord):
        book.payload_in(records.MARK)
    with pytest.raises(BadRecord):
        book.worker_in(records.MARK)


def test_the_books_client_reads_done() -> None:
    """A raw task's success is the plain text `done`."""
    assert book.status_data(RAW, Status(State.DONE, "read"), b"ignored") == b"done"


@pytest.mark.parametrize("reason", list(Reason))
def test_the_books_client_never_takes_a_failure_for_success(reason: Reason) -> None:
    """It looks for `done` anywhere in the status, so no failure may contain it."""
    data = book.status_data(RAW, Status(State.FAILED, "read", reason=reason))
    assert data == f"failed: {reason}".encode()
    assert book.DONE not in data


def test_our_clients_get_a_record() -> None:
    """A task of ours ends in a status record with the result behind it."""
    status = Status(State.DONE, "echo", "w", 1.0, 2.0, 3.0)
    data = book.status_data(Task("0123456789abcdef-1", "echo"), status, b"result")
    assert records.decode_status(data) == status
    assert records.body(data) == b"result"
