"""The form records have in a znode: a fixed prefix, a msgpack header, then the payload's bytes.

    offset 0   b"\xc1MW"   the mark; 0xC1 begins no msgpack object and stands in no UTF-8 text
           3   u8          the format version
           4   u8          the kind, an ASCII letter
           5   u16         the header's length in bytes, big-endian
           7   header      a msgpack map with text keys; unknown keys are ignored
           ..  body        the payload or the result, as it was given

The header stands apart from the body so that a master can weigh a task without touching its
payload. Nothing read here is trusted: every field's type and size is checked, and what does not
fit raises BadRecord with the field's name. Data without the mark is not one of our records, and
means something only where the book's protocol gives it a meaning.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgpack

from . import limits
from .access import MAX_IDENTITY, Identities
from .errors import BadRecord, FutureRecord, PayloadTooLarge, Refused
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
from .paths import is_executor, is_key_id, is_name

MARK: Final = b"\xc1MW"
FORMAT: Final = 2
"""The newest format version, which is read: that of what is sealed. A program that knows of no
seals would take a sealed payload for a plain one, so it must not understand the record."""

_UNSEALED: Final = 1  # the format version of everything else

_LONGEST_LIST: Final = 1_000
"""Room is made for a list of the length it claims: nested ones must not add up to much memory."""

_PREFIX = struct.Struct("!3sBcH")
_TASK, _STATUS, _WORKER, _MASTER, _LEDGER, _ACCESS = b"t", b"s", b"w", b"m", b"l", b"a"
_EnumT = TypeVar("_EnumT", State, Reason, WorkerState)


def is_record(data: bytes) -> bool:
    """Whether a znode's data claims to be one of our records."""
    return data.startswith(MARK)


def body(data: bytes) -> bytes:
    """The payload or result behind a record's header. Raises BadRecord if there is no header.

    It does not look into the header: a record is sound only if it can be decoded.
    """
    if not is_record(data) or len(data) < _PREFIX.size:
        raise BadRecord(f"not one of our records: it begins with {data[:16]!r}")
    return data[_PREFIX.size + _PREFIX.unpack_from(data)[3] :]


def most_bytes(sealed: str) -> int:
    """How long a payload or result can be; `sealed` names the key if it is sealed."""
    return limits.MAX_PAYLOAD + limits.MAX_SEAL if sealed else limits.MAX_PAYLOAD


def check_payload(payload: bytes, what: str, sealed: str = "") -> None:
    """Raise PayloadTooLarge if `payload` cannot stand in one znode; `what` begins the message."""
    if len(payload) > most_bytes(sealed):
        raise PayloadTooLarge(
            f"{what} has {len(payload):,} bytes, and the limit is {limits.MAX_PAYLOAD:,} bytes "
            "(ZooKeeper takes about 1 MB a request): store the data elsewhere and submit its name"
        )


def tail(text: str) -> str:
    """The end of a text, as much of it as an attempt's evidence may hold."""
    return text.encode(errors="replace")[-limits.MAX_DETAIL :].decode(errors="ignore")


def check_options(options: Mapping[str, str]) -> None:
    """Raise Refused if a task cannot carry these options."""
    texts = [*options, *options.values()]
    if not all(isinstance(text, str) for text in texts):
        raise Refused("a task's options map text to text; put anything else into the payload")
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError as error:
        raise Refused(f"an option is not Unicode text: {error}") from None
    if len(options) > limits.MAX_OPTIONS or size > limits.MAX_OPTION_BYTES:
        raise Refused(
            f"{len(options)} options with {size:,} bytes; the limits are "
            f"{limits.MAX_OPTIONS} options and {limits.MAX_OPTION_BYTES:,} bytes: "
            "put the data into the payload"
        )


def check_ledger(ledger: Ledger) -> None:
    """Raise BadRecord if these books cannot be right, so that nobody would read them again."""
    if ledger.unsettled < 0:
        raise BadRecord(f"the ledger settles more tasks than it accepted: {ledger}")
    if max(ledger.accepted, ledger.batch) > limits.MAX_COUNT:
        raise BadRecord(f"the ledger counts beyond {limits.MAX_COUNT:,}: {ledger}")


# --- writing ---------------------------------------------------------------------------------


def encode_task(task: Task, payload: bytes) -> bytes:
    """A task with its payload. Raises PayloadTooLarge."""
    check_payload(payload, f"the payload of task {task.id}", task.sealed)
    header: dict[str, Any] = {"executor": task.executor, "submitted": task.submitted}
    if task.attempts is not None:
        header["attempts"] = task.attempts
    if task.options:
        header["options"] = dict(task.options)
    if task.history:
        header["history"] = [_attempt_row(attempt) for attempt in task.history]
    if task.raw:
        header["raw"] = True
    if task.sealed:
        header["sealed"] = task.sealed
    if task.owner:
        header["owner"] = task.owner
    return _encode(_TASK, header, payload)


def encode_status(status: Status, result: bytes = b"") -> bytes:
    """A status with its result. Raises PayloadTooLarge."""
    check_payload(result, "the result", status.sealed)
    header: dict[str, Any] = {
        "state": status.state.value,
        "executor": status.executor,
        "worker": status.worker,
        "submitted": status.submitted,
        "started": status.started,
        "ended": status.ended,
    }
    if status.reason is not None:
        header["reason"] = status.reason.value
    if status.history:
        header["history"] = [_attempt_row(attempt) for attempt in status.history]
    if status.sealed:
        header["sealed"] = status.sealed
    return _encode(_STATUS, header, result)


def encode_worker(worker: Worker) -> bytes:
    """A worker's announcement."""
    header: dict[str, Any] = {
        "executors": dict(worker.executors),
        "slots": worker.slots,
        "process_slots": worker.process_slots,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "state": worker.state.value,
        "started": worker.started,
    }
    if worker.keys:
        header["keys"] = list(worker.keys)
    if worker.owner:
        header["owner"] = worker.owner
    return _encode(_WORKER, header)


def encode_master(master: Master) -> bytes:
    """A master's announcement."""
    header = {
        "id": master.id,
        "host": master.host,
        "pid": master.pid,
        "version": master.version,
        "started": master.started,
    }
    return _encode(_MASTER, header)


def encode_ledger(ledger: Ledger) -> bytes:
    """A client's books."""
    header = {
        "accepted": ledger.accepted,
        "taken": ledger.taken,
        "expired": ledger.expired,
        "batch": ledger.batch,
    }
    return _encode(_LEDGER, header)


def encode_access(who: Identities) -> bytes:
    """Who has which role."""
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
            f"a record's header has {len(packed):,} bytes, and the limit is "
            f"{limits.MAX_HEADER:,}: pass fewer or shorter options"
        )
    version = FORMAT if "sealed" in header else _UNSEALED
    return _PREFIX.pack(MARK, version, kind, len(packed)) + packed + body


def _attempt_row(attempt: Attempt) -> list[Any]:
    detail = tail(attempt.detail)
    return [attempt.worker, attempt.reason.value, detail, attempt.started, attempt.ended]


# --- reading ---------------------------------------------------------------------------------


def decode_task(task: str, data: bytes) -> Task:
    """The task named `task` whose record is `data`; `body(data)` is its payload."""
    fields = _Fields(_decode(_TASK, data))
    decoded = Task(
        id=task,
        executor=fields.executor("executor"),
        submitted=fields.seconds("submitted") or 0.0,
        attempts=fields.count("attempts", 1, limits.MAX_ATTEMPTS) if "attempts" in fields else None,
        options=fields.options("options"),
        history=fields.history("history"),
        raw=fields.flag("raw"),
        sealed=fields.key_id("sealed"),
        owner=fields.text("owner", MAX_IDENTITY),
    )
    if decoded.failures >= limits.MAX_ATTEMPTS or decoded.losses >= limits.MAX_LOSSES:
        raise BadRecord(  # and there would be no room to record how its next attempt ends
            f"field 'history' has {decoded.failures} failed attempts and {decoded.losses} lost "
            "workers: that task has ended"
        )
    return decoded


def decode_status(data: bytes) -> Status:
    """The status whose record is `data`; `body(data)` is the task's result."""
    fields = _Fields(_decode(_STATUS, data))
    state = fields.choice("state", State)
    if state not in FINISHED:
        raise BadRecord(f"a status that records the state {state}, which is none to end in")
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
    """The worker whose announcement is `data`."""
    fields = _Fields(_decode(_WORKER, data))
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
    )


def decode_master(data: bytes) -> Master:
    """The master whose announcement is `data`."""
    fields = _Fields(_decode(_MASTER, data))
    return Master(
        id=fields.name("id"),
        host=fields.text("host"),
        pid=fields.count("pid", 0, 2**31),
        version=fields.text("version"),
        started=fields.seconds("started") or 0.0,
    )


def decode_ledger(data: bytes) -> Ledger:
    """The books of a client; a ledger that does not add up is a BadRecord."""
    fields = _Fields(_decode(_LEDGER, data))
    ledger = Ledger(
        accepted=fields.count("accepted", 0),
        taken=fields.count("taken", 0),
        expired=fields.count("expired", 0),
        batch=fields.count("batch", 0),
    )
    check_ledger(ledger)
    return ledger


def decode_access(data: bytes) -> Identities:
    """Who has which role, as `data` says."""
    fields = _Fields(_decode(_ACCESS, data))
    return Identities(
        master=fields.identities("master"),
        worker=fields.identities("worker"),
        client=fields.identities("client"),
        operator=fields.identities("operator"),
    )


def _decode(kind: bytes, data: bytes) -> dict[str, Any]:
    if not is_record(data) or len(data) < _PREFIX.size:
        raise BadRecord(f"not one of our records: it begins with {data[:16]!r}")
    _, version, found, length = _PREFIX.unpack_from(data)
    if version > FORMAT:
        raise FutureRecord(
            f"a record of format version {version}; this program knows {FORMAT}: upgrade it"
        )
    if found != kind:
        raise BadRecord(f"a record of kind {found!r} where kind {kind!r} belongs")
    packed = data[_PREFIX.size : _PREFIX.size + length]
    if len(packed) < length:
        raise BadRecord(f"a header cut off after {len(packed)} of {length} bytes")
    try:
        header = msgpack.unpackb(packed, max_array_len=_LONGEST_LIST)
    except (ValueError, msgpack.UnpackException) as error:
        why = str(error) or type(error).__name__
        raise BadRecord(f"a header that is not msgpack: {why}") from error
    if not isinstance(header, dict):
        raise BadRecord(f"a header that is a {type(header).__name__}, not a map")
    return header


class _Fields:
    """A decoded header, and one checked reader for each type a field can have."""

    __slots__ = ("_header",)

    def __init__(self, header: dict[str, Any]) -> None:
        self._header = header

    def __contains__(self, key: str) -> bool:
        return self._header.get(key) is not None

    def _fail(self, key: str, expected: str) -> BadRecord:
        found = reprlib.repr(self._header.get(key))  # repr itself fails on a deep enough nest
        return BadRecord(f"field {key!r} is {found:.100}, expected {expected}")

    def text(self, key: str, most: int = limits.MAX_TEXT) -> str:
        value = self._header.get(key, "")
        if not isinstance(value, str) or len(value) > most:
            raise self._fail(key, f"text of at most {most} characters")
        return value

    def name(self, key: str) -> str:
        value = self._header.get(key)
        if not isinstance(value, str) or not is_name(value):
            raise self._fail(key, "a name")
        return value

    def executor(self, key: str) -> str:
        value = self._header.get(key)
        if not isinstance(value, str) or not is_executor(value):
            raise self._fail(key, "an executor's name")
        return value

    def key_id(self, key: str) -> str:
        value = self._header.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not is_key_id(value):
            raise self._fail(key, "a key's id")
        return value

    def key_ids(self, key: str) -> tuple[str, ...]:
        values = self._header.get(key) or []
        sound = isinstance(values, list) and len(values) <= limits.MAX_KEYS
        if not sound or not all(isinstance(one, str) and is_key_id(one) for one in values):
            raise self._fail(key, f"a list of at most {limits.MAX_KEYS} keys' ids")
        return tuple(values)

    def seconds(self, key: str) -> float | None:
        return _seconds(self._header.get(key), lambda: self._fail(key, "seconds, or nothing"))

    def count(self, key: str, least: int, most: int = limits.MAX_COUNT) -> int:
        value = self._header.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self._fail(key, f"a whole number from {least} to {most}")
        return value

    def flag(self, key: str) -> bool:
        value = self._header.get(key, False)
        if not isinstance(value, bool):
            raise self._fail(key, "true or false")
        return value

    def choice(self, key: str, options: type[_EnumT]) -> _EnumT:
        return _choice(
            options,
            self._header.get(key),
            lambda: self._fail(key, f"one of {', '.join(options)}"),
        )

    def identities(self, key: str) -> tuple[str, ...]:
        values = self._header.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._fail(key, "a list of identities")
        return tuple(values)

    def options(self, key: str) -> Mapping[str, str]:
        value = self._header.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._fail(key, "a map of text to text")
        try:
            check_options(value)
        except Refused as error:
            raise BadRecord(f"field {key!r}: {error}") from None
        return value

    def offered(self, key: str) -> Mapping[str, bool]:
        value = self._header.get(key)
        if not isinstance(value, dict) or len(value) > limits.MAX_EXECUTORS:
            raise self._fail(key, f"a map of at most {limits.MAX_EXECUTORS} executors")
        for name, inline in value.items():
            if not (isinstance(name, str) and is_executor(name) and isinstance(inline, bool)):
                raise self._fail(key, "a map of executor names to true or false")
        return value

    def history(self, key: str) -> tuple[Attempt, ...]:
        rows = self._header.get(key)
        if rows is None:
            return ()
        most = limits.MAX_ATTEMPTS + limits.MAX_LOSSES
        if not isinstance(rows, list) or len(rows) > most:
            raise self._fail(key, f"a list of at most {most} attempts")
        return tuple(self._attempt(key, row) for row in rows)

    def _attempt(self, key: str, row: object) -> Attempt:
        def fail() -> BadRecord:
            return self._fail(key, "a list of [worker, reason, detail, started, ended]")

        if not isinstance(row, list) or len(row) < 5:
            raise fail()
        worker, reason, detail, started, ended = row[:5]
        if not (_fits(worker, limits.MAX_NAME) and _fits(detail, limits.MAX_DETAIL)):
            raise fail()
        why = _choice(Reason, reason, fail)
        return Attempt(worker, why, detail, _seconds(started, fail), _seconds(ended, fail))


def _fits(value: object, most: int) -> bool:
    """Whether this is text of at most `most` bytes."""
    return isinstance(value, str) and len(value.encode()) <= most


def _seconds(value: object, fail: Callable[[], BadRecord]) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise fail()
    return float(value)


def _choice(options: type[_EnumT], value: object, fail: Callable[[], BadRecord]) -> _EnumT:
    try:
        return options(value if isinstance(value, str) else "")
    except ValueError:
        raise fail() from None
