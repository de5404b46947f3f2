"""What a znode without our mark means: the protocol of the ZooKeeper book.

The book's clients put raw data under /tasks and wait for the text `done` in /status/<task>; its
workers announce themselves under /workers with a text such as `Idle`. Both are served.
"""

from __future__ import annotations

from typing import Final

from . import limits, paths, records
from .errors import BadRecord
from .model import State, Status, Task, Worker

EXECUTOR: Final = "read"
"""The executor for the book's tasks, which name none."""

DONE: Final = b"done"
"""The status the book's clients take for success: they look for this text anywhere in it."""


def task_in(name: str, data: bytes) -> Task:
    """The task in a znode called `name`: one of ours, or a raw one. Raises BadRecord."""
    if not records.is_record(data):
        return Task(id=name, executor=EXECUTOR, raw=True)
    task = records.decode_task(name, data)
    if not task.raw and not paths.is_task(name):
        raise BadRecord(f"a task record under the name {name!r}, which is no task id")
    return task


def status_in(name: str, data: bytes) -> Status:
    """The status of a task: one of ours, or the plain text of a raw one. Raises BadRecord."""
    if records.is_record(data) or paths.is_task(name):
        return records.decode_status(data)
    return Status(State.DONE if DONE in data else State.FAILED, EXECUTOR)


def movable_task_in(name: str, data: bytes) -> Task:
    """The task in a znode, if it can be recorded wherever it goes next. Raises BadRecord.

    Anyone who may write here can plant a record that is sound but leaves no room for its next one.
    """
    task = task_in(name, data)
    if len(data) > limits.MAX_PAYLOAD:
        size, most = len(payload_in(data)), limits.most_bytes(task.sealed)
        if size > most:
            raise BadRecord(f"a payload of {size:,} bytes; the limit is {most:,}")
    return task


def payload_in(data: bytes) -> bytes:
    """The payload in a task's znode."""
    return records.body(data) if records.is_record(data) else data


def worker_in(data: bytes) -> Worker:
    """The worker that a znode announces. Raises BadRecord."""
    if not records.is_record(data):
        return Worker({EXECUTOR: True}, limits.BOOK_SLOTS, 0, book=True)
    return records.decode_worker(data)


def status_data(task: Task, status: Status, result: bytes = b"") -> bytes:
    """What the status znode of a finished task holds: a record, or plain text for a raw task."""
    if not task.raw:
        return records.encode_status(status, result)
    if status.state is State.DONE:
        return DONE
    return f"failed: {status.reason}".encode()


def task_data(task: Task, payload: bytes, *, for_book_worker: bool = False) -> bytes:
    """What the znode of an unfinished task holds.

    A raw task stays plain data until it has a history to carry; a worker of the book's is given
    plain data in any case.
    """
    if task.raw and (for_book_worker or not task.history):
        return payload
    return records.encode_task(task, payload)
