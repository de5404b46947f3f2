"""Znodes without our mark, which follow the protocol of the ZooKeeper book.

The book's clients put raw data under /tasks and wait for the text `done` in /status/<task>. Its
workers register under /workers with a text such as `Idle`. Both are supported.
"""

from __future__ import annotations

from typing import Final

from . import limits, paths, records
from .errors import BadRecord
from .model import State, Status, Task, Worker

EXECUTOR: Final = "read"
"""The executor of the book's tasks, which do not name one."""

DONE: Final = b"done"
"""The status that means success to the book's clients, which search it for this text."""


def task_in(name: str, data: bytes) -> Task:
    """The task in a znode called `name`: a record of ours, or a raw task. Raises BadRecord."""
    if not records.is_record(data):
        return Task(id=name, executor=EXECUTOR, raw=True)
    task = records.decode_task(name, data)
    if not task.raw and not paths.is_task(name):
        raise BadRecord(f"znode {name!r} has a task record, but its name is not a task id")
    return task


def status_in(name: str, data: bytes) -> Status:
    """The status of a task: a record of ours, or a raw task's plain text. Raises BadRecord."""
    if records.is_record(data) or paths.is_task(name):
        return records.decode_status(data)
    return Status(State.DONE if DONE in data else State.FAILED, EXECUTOR)


def movable_task_in(name: str, data: bytes) -> Task:
    """The task in a znode, if its next record can be written too. Raises BadRecord.

    Any process that may write here can create a valid record that leaves no room for the next one.
    """
    task = task_in(name, data)
    if len(data) > limits.MAX_PAYLOAD:
        size, most = len(payload_in(data)), limits.most_bytes(task.sealed)
        if size > most:
            raise BadRecord(f"the payload has {size:,} bytes, but the limit is {most:,}")
    return task


def payload_in(data: bytes) -> bytes:
    """The payload in a task's znode."""
    return records.body(data) if records.is_record(data) else data


def worker_in(data: bytes) -> Worker:
    """The worker registered by a znode with this data. Raises BadRecord."""
    if not records.is_record(data):
        return Worker({EXECUTOR: True}, limits.BOOK_SLOTS, 0, book=True)
    return records.decode_worker(data)


def status_data(task: Task, status: Status, result: bytes = b"") -> bytes:
    """The data of a finished task's status znode: a record, or plain text for a raw task."""
    if not task.raw:
        return records.encode_status(status, result)
    if status.state is State.DONE:
        return DONE
    return f"failed: {status.reason}".encode()


def task_data(task: Task, payload: bytes, *, for_book_worker: bool = False) -> bytes:
    """The data of an unfinished task's znode.

    A raw task stays plain data until it has a history to record; a worker of the book's always gets
    plain data.
    """
    if task.raw and (for_book_worker or not task.history):
        return payload
    return records.encode_task(task, payload)
