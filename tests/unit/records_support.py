"""Sound records of every kind, and records that anybody could have put together."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from masterworker.words import records
from masterworker.words.errors import BadRecord
from masterworker.words.model import (
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

ATTEMPT = Attempt("worker-1", Reason.CRASHED, "exit code 1", 3.0, 4.0)
TASK = Task("t", "echo", 2.0, 3, {"shell": "no"}, (ATTEMPT,))
STATUS = Status(State.FAILED, "echo", "worker-1", 2.0, 3.0, 4.0, Reason.CRASHED, (ATTEMPT,))
WORKER = Worker({"echo": True, "read": False}, 12, 4, "host", 17, "0.1.0", WorkerState.READY, 1.0)
MASTER = Master("master-1", "host", 18, "0.1.0", 1.0)
LEDGER = Ledger(9, 4, 2, 7)

Decode = Callable[[bytes], object]

KINDS: dict[bytes, tuple[bytes, Decode]] = {
    b"t": (records.encode_task(TASK, b"payload"), lambda data: records.decode_task("t", data)),
    b"s": (records.encode_status(STATUS, b"result"), records.decode_status),
    b"w": (records.encode_worker(WORKER), records.decode_worker),
    b"m": (records.encode_master(MASTER), records.decode_master),
    b"l": (records.encode_ledger(LEDGER), records.decode_ledger),
}
"""One sound record of each kind, and how to read it."""

every_kind = pytest.mark.parametrize("kind", list(KINDS), ids=lambda kind: kind.decode())


def with_header(kind: bytes, header: object, body: bytes = b"") -> bytes:
    """A record of this kind with any header, sound or not."""
    return with_packed(kind, msgpack.packb(header), body)


def with_packed(kind: bytes, packed: bytes, body: bytes = b"", version: int = 1) -> bytes:
    """A record whose header is these bytes, whatever they are."""
    prefix = struct.pack("!3sBcH", records.MARK, version, kind, len(packed))
    return prefix + packed + body


def header_of(data: bytes) -> dict[str, Any]:
    """The header of a sound record."""
    (length,) = struct.unpack_from("!H", data, 5)
    header: dict[str, Any] = msgpack.unpackb(data[7 : 7 + length])
    return header


def reads_or_refuses(kind: bytes, data: bytes) -> None:
    """Decode `data`; any exception but BadRecord passes through and fails the test."""
    _, decode = KINDS[kind]
    message = ""
    try:
        decode(data)
    except BadRecord as error:
        message = str(error)
    assert len(message) < 2_000, "a message is bounded, whatever the record holds"
