"""The format of records in znodes: a fixed prefix, a msgpack header, then the payload's bytes.

    offset 0   b"\xc1MW"   the mark; 0xC1 starts no msgpack object and occurs in no UTF-8 text
           3   u8          the format version
           4   u8          the kind, an ASCII letter
           5   u16         the header's length in bytes, big-endian
           7   header      a msgpack map with text keys; unknown keys are ignored
           ..  body        the payload or the result, unchanged

The header is separate from the body so that a master can place a task without touching its payload.
An invalid record raises BadRecord; fields.py reads the header. Data without the mark is not one of
our records; only the book's protocol can give it a meaning.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from . import evidence, limits
from .access import MAX_IDENTITY, Identities
from .errors import BadRecord, FutureRecord, PayloadTooLarge
from .fields import Fields
from .model import (
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
from .paths import check_executor

MARK: Final = b"\xc1MW"
FORMAT: Final = 2
"""The newest format version that can be read, which sealed records have. A program without support
for seals would take a sealed payload for a plain one, so it must not decode the record."""

_UNSEALED: Final = 1  # the format version of all other records

_SHORT: Final = 512  # maximum bytes of a header that is cached

_LONGEST_LIST: Final = 1_000
"""Memory is reserved for the length that a list claims: nested lists must not add up to much."""

_PREFIX = struct.Struct("!3sBcH")
_TASK, _STATUS, _WORKER, _MASTER, _LEDGER, _ACCESS = b"t", b"s", b"w", b"m", b"l", b"a"


def is_record(data: bytes) -> bool:
    """Whether a znode's data has the mark of a record."""
    return data.startswith(MARK)


def body(data: bytes) -> bytes:
    """The payload or result after a record's header. Raises BadRecord if there is no header.

    The header is not checked: a record is valid only if it can be decoded.
    """
    if not is_record(data) or len(data) < _PREFIX.size:
        raise BadRecord(f"not a masterworker record: the data starts with {data[:16]!r}")
    return data[_PREFIX.size + _PREFIX.unpack_from(data)[3] :]


def check_ledger(ledger: Ledger) -> None:
    """Raise BadRecord for an inconsistent ledger, which `decode_ledger` would refuse."""
    if ledger.unsettled < 0:
        raise BadRecord(f"the ledger has more taken and expired tasks than accepted ones: {ledger}")
    if max(ledger.accepted, ledger.batch) > limits.MAX_COUNT:
        raise BadRecord(f"the ledger has a number above {limits.MAX_COUNT:,}: {ledger}")


# --- writing ---------------------------------------------------------------------------------


def encode_task(task: Task, payload: bytes) -> bytes:
    """A task with its payload. Raises PayloadTooLarge."""
    limits.check_payload(payload, f"the payload of task {task.id}", task.sealed)
    return task_head(task) + payload


def task_head(task: Task) -> bytes:
    """The data before a task's payload, the same for tasks that differ only in their ids.

    Raises TypeError, Refused, BadName or PayloadTooLarge for values that `decode_task` rejects.
    """
    header: dict[str, Any] = {
        "executor": check_executor(task.executor),
        "submitted": limits.recorded_time(task.submitted),
    }
    if task.attempts is not None:
        limits.check_attempts(task.attempts)
        header["attempts"] = task.attempts
    if task.options:
        limits.check_options(task.options)
        header["options"] = dict(task.options)
    if task.history:
        header["history"] = [_attempt_row(attempt) for attempt in task.history]
    if task.raw:
        header["raw"] = True
    if task.sealed:
        header["sealed"] = task.sealed
    if task.owner:
        header["owner"] = task.owner
    return _encode(_TASK, header)


def encode_status(status: Status, result: bytes = b"") -> bytes:
    """A status with its result. Raises PayloadTooLarge."""
    limits.check_payload(result, "the result", status.sealed)
    header: dict[str, Any] = {
        "state": status.state.value,
        "executor": status.executor,
        "worker": status.worker,
        "submitted": limits.recorded_time(status.submitted),
        "started": _time(status.started),
        "ended": _time(status.ended),
    }
    if status.reason is not None:
        header["reason"] = status.reason.value
    if status.history:
        header["history"] = [_attempt_row(attempt) for attempt in status.history]
    if status.sealed:
        header["sealed"] = status.sealed
    return _encode(_STATUS, header, result)


def encode_worker(worker: Worker) -> bytes:
    """A worker's record."""
    header: dict[str, Any] = {
        "executors": dict(worker.executors),
        "slots": worker.slots,
        "process_slots": worker.process_slots,
        "host": limits.recorded_text(worker.host),
        "pid": worker.pid,
        "version": limits.recorded_text(worker.version),
        "state": worker.state.value,
        "started": limits.recorded_time(worker.started),
    }
    if worker.keys:
        header["keys"] = list(worker.keys)
    if worker.owner:
        header["owner"] = worker.owner
    if worker.unavailable:
        header["unavailable"] = dict(worker.unavailable)
    return _encode(_WORKER, header)


def encode_master(master: Master) -> bytes:
    """A master's record."""
    header = {
        "id": master.id,
        "host": limits.recorded_text(master.host),
        "pid": master.pid,
        "version": limits.recorded_text(master.version),
        "started": limits.recorded_time(master.started),
    }
    return _encode(_MASTER, header)


def encode_ledger(ledger: Ledger) -> bytes:
    """A client's ledger record."""
    header = {
        "accepted": ledger.accepted,
        "taken": ledger.taken,
        "expired": ledger.expired,
        "batch": ledger.batch,
    }
    return _encode(_LEDGER, header)


def encode_access(who: Identities) -> bytes:
    """The identities of each role."""
    roles = {
        "master": list(who.master),
        "worker": list(who.worker),
        "client": list(who.client),
        "operator": list(who.operator),
    }
    return _encode(_ACCESS, roles)


def _encode(kind: bytes, header: Mapping[str, Any], body: bytes = b"") -> bytes:
    packed: bytes = msgpack.packb(header)
    if len(packed) > limits.MAX_HEADER:
        raise PayloadTooLarge(
            f"the record's header has {len(packed):,} bytes, but the limit is "
            f"{limits.MAX_HEADER:,}. Use fewer or shorter options"
        )
    version = FORMAT if "sealed" in header else _UNSEALED
    return _PREFIX.pack(MARK, version, kind, len(packed)) + packed + body


def _attempt_row(attempt: Attempt) -> list[Any]:
    detail = evidence.bounded(attempt.detail)
    started, ended = _time(attempt.started), _time(attempt.ended)
    return [attempt.worker, attempt.reason.value, detail, started, ended]


def _time(seconds: float | None) -> float | None:
    return None if seconds is None else limits.recorded_time(seconds)


# --- reading ---------------------------------------------------------------------------------


def decode_task(task: str, data: bytes) -> Task:
    """The task with the id `task` and the record `data`. `body(data)` is its payload."""
    packed = _packed(_TASK, data)
    decoded = _known_task(packed) if len(packed) <= _SHORT else _task(packed)
    return Task(task, *decoded[1:])


def _task(packed: bytes) -> Task:
    """The task with this header, without its id."""
    fields = Fields(_unpacked(packed))
    decoded = Task(
        id="",
        executor=fields.executor("executor"),
        submitted=fields.seconds("submitted") or 0.0,
        attempts=fields.attempts("attempts"),
        options=fields.options("options"),
        history=fields.history("history"),
        raw=fields.flag("raw"),
        sealed=fields.key_id("sealed"),
        owner=fields.text("owner", MAX_IDENTITY),
    )
    if decoded.history and (
        decoded.failures >= limits.MAX_ATTEMPTS or decoded.losses >= limits.MAX_LOSSES
    ):
        raise BadRecord(  # there would be no room to record how its next attempt ends
            f"field 'history' has {decoded.failures} failed attempts and {decoded.losses} lost "
            "workers, which only a finished task can have"
        )
    return decoded


_known_task = functools.lru_cache(maxsize=1024)(_task)
"""Caches headers, because tasks submitted together have the same header."""


def decode_status(data: bytes) -> Status:
    """The status with the record `data`. `body(data)` is the task's result."""
    fields = Fields(_decode(_STATUS, data))
    state = fields.choice("state", State)
    if state not in FINISHED:
        raise BadRecord(f"the status has the state {state}, expected a final state")
    return Status(
        state=state,
        executor=fields.executor("executor"),
        worker=fields.text("worker", limits.MAX_NAME),
        submitted=fields.seconds("submitted") or 0.0,
        started=fields.seconds("started"),
        ended=fields.seconds("ended"),
        reason=fields.choice("reason", Reason) if "reason" in fields else None,
        history=fields.history("history"),
        sealed=fields.key_id("sealed"),
    )


def decode_worker(data: bytes) -> Worker:
    """The worker with the record `data`."""
    fields = Fields(_decode(_WORKER, data))
    slots = fields.count("slots", 0, limits.MAX_SLOTS)
    return Worker(
        executors=fields.offered("executors"),
        slots=slots,
        process_slots=fields.count("process_slots", 0, slots),
        host=fields.text("host"),
        pid=fields.count("pid", 0, 2**31),
        version=fields.text("version"),
        state=fields.choice("state", WorkerState),
        started=fields.seconds("started") or 0.0,
        keys=fields.key_ids("keys"),
        owner=fields.text("owner", MAX_IDENTITY),
        unavailable=fields.reasons("unavailable"),
    )


def decode_master(data: bytes) -> Master:
    """The master with the record `data`."""
    fields = Fields(_decode(_MASTER, data))
    return Master(
        id=fields.name("id"),
        host=fields.text("host"),
        pid=fields.count("pid", 0, 2**31),
        version=fields.text("version"),
        started=fields.seconds("started") or 0.0,
    )


def decode_ledger(data: bytes) -> Ledger:
    """The ledger of a client; an inconsistent one raises BadRecord."""
    fields = Fields(_decode(_LEDGER, data))
    ledger = Ledger(
        accepted=fields.count("accepted", 0),
        taken=fields.count("taken", 0),
        expired=fields.count("expired", 0),
        batch=fields.count("batch", 0),
    )
    check_ledger(ledger)
    return ledger


def decode_access(data: bytes) -> Identities:
    """The identities of each role, in the record `data`."""
    fields = Fields(_decode(_ACCESS, data))
    return Identities(
        master=fields.identities("master"),
        worker=fields.identities("worker"),
        client=fields.identities("client"),
        operator=fields.identities("operator"),
    )


def _decode(kind: bytes, data: bytes) -> dict[str, Any]:
    return _unpacked(_packed(kind, data))


def _packed(kind: bytes, data: bytes) -> bytes:
    """The packed header of a record of this kind."""
    if not is_record(data) or len(data) < _PREFIX.size:
        raise BadRecord(f"not a masterworker record: the data starts with {data[:16]!r}")
    _, version, found, length = _PREFIX.unpack_from(data)
    if version > FORMAT:
        raise FutureRecord(
            f"the record has format version {version}, but this program supports up to {FORMAT}. "
            "Upgrade masterworker"
        )
    if found != kind:
        raise BadRecord(f"the record has kind {found!r}, expected {kind!r}")
    packed = data[_PREFIX.size : _PREFIX.size + length]
    if len(packed) < length:
        raise BadRecord(f"the header is truncated: {len(packed)} of {length} bytes")
    return packed


def _unpacked(packed: bytes) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(packed, max_array_len=_LONGEST_LIST)
    except (ValueError, msgpack.UnpackException) as error:
        why = str(error) or type(error).__name__
        raise BadRecord(f"the header is not valid msgpack: {why}") from error
    if not isinstance(header, dict):
        raise BadRecord(f"the header is of type {type(header).__name__}, expected a map")
    return header
