"""Every reader of foreign bytes, and what must hold for whatever it is given.

Two things: nothing but its declared errors comes out, and what it accepts can be written again and
then reads the same. `check` holds all of them against one input: hypothesis, the corpus and the
coverage-guided fuzzer call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from masterworker.decisions import life
from masterworker.execution import frames
from masterworker.words import book, limits, records
from masterworker.words.errors import AttemptFailed, BadRecord
from masterworker.words.model import Attempt, Reason, Task
from masterworker_executors import python

TASK: Final = "0123456789abcdef-1"
RAW: Final = "task-0000000001"
FAILED: Final = Attempt("w" * limits.MAX_NAME, Reason.FAILED, "x" * limits.MAX_DETAIL, 1.0, 2.0)

MOST_SAID: Final = 500
"""Characters of what a reader says of bad data: it is logged, and `mwctl audit` shows it."""

T = TypeVar("T")


def check(data: bytes) -> set[str]:
    """Give one input to every reader; the names of those that accepted it."""
    return {name for name, reader in READERS.items() if reader(data)}


def task(data: bytes) -> bool:
    """A task: it also has room for the attempt that a worker is going to add."""
    read = _read(lambda: records.decode_task(TASK, data))
    if read is None:
        return False
    written = records.encode_task(read, b"")
    assert records.decode_task(TASK, written) == read
    _takes_another_attempt(read)
    return True


def raw_task(data: bytes) -> bool:
    """A child of /tasks under a name of the book's clients: a raw task unless it bears our mark."""
    read = _read(lambda: book.task_in(RAW, data))
    if read is not None:
        assert read.raw
        assert book.payload_in(data) == data if not records.is_record(data) else True
        _takes_another_attempt(read)
    return read is not None


def status(data: bytes) -> bool:
    """A status, as a client reads it."""
    return _again(data, records.decode_status, lambda read: records.encode_status(read, b""))


def worker(data: bytes) -> bool:
    """A worker's announcement, one of the book's included."""
    read = _read(lambda: book.worker_in(data))
    if read is not None and not read.book:
        assert records.decode_worker(records.encode_worker(read)) == read
        assert 0 <= read.process_slots <= read.slots <= limits.MAX_SLOTS
    return read is not None


def master(data: bytes) -> bool:
    """A master's announcement."""
    return _again(data, records.decode_master, records.encode_master)


def ledger(data: bytes) -> bool:
    """A client's books."""
    return _again(data, records.decode_ledger, records.encode_ledger)


def body(data: bytes) -> bool:
    """A payload or a result: never more than there is."""
    found = _read(lambda: records.body(data))
    assert found is None or data.endswith(found)
    return found is not None


def frame(data: bytes) -> bool:
    """What a child process answers, its length included."""
    try:
        frames.length(data[:4].ljust(4, b"\0"))
        message = frames.unpack(data[4:])
    except frames.BadFrame:
        return False
    assert isinstance(message, dict)
    return True


def arguments(data: bytes) -> bool:
    """The payload of a task for the executor `python`."""
    try:
        args, kwargs = python.arguments(data)
    except AttemptFailed:
        return False
    assert isinstance(args, list)
    assert all(isinstance(key, str) for key in kwargs)
    return True


READERS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "task": task,
    "raw task": raw_task,
    "status": status,
    "worker": worker,
    "master": master,
    "ledger": ledger,
    "body": body,
    "frame": frame,
    "arguments": arguments,
}


def _read(reader: Callable[[], T]) -> T | None:
    try:
        return reader()
    except BadRecord as error:
        said = str(error)
    assert len(said) < MOST_SAID
    assert said.isprintable()
    return None


def _again(data: bytes, decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> bool:
    read = _read(lambda: decode(data))
    if read is None:
        return False
    assert decode(encode(read)) == read
    return True


def _takes_another_attempt(read: Task) -> None:
    """Whatever becomes of the next attempt can be written, and read by whoever comes next."""
    moves = [
        life.fail(read, FAILED, 1, 2.0),
        life.recover(read, FAILED.worker, "other", 2.0),
        life.complete(read, FAILED.worker, 1.0, 2.0),
    ]
    for move in moves:
        if move.status is not None:
            assert records.decode_status(records.encode_status(move.status)) == move.status
        else:
            assert records.decode_task(read.id, records.encode_task(move.task, b"")) == move.task
