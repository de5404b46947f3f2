"""Records: what is written is read back, and nothing anybody writes can do worse than BadRecord."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.words import limits, paths, records
from masterworker.words.errors import BadRecord, FutureRecord, PayloadTooLarge, Refused
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
from tests.unit import strategies

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


# --- what is written is read back ------------------------------------------------------------


@given(strategies.tasks, strategies.payloads)
def test_a_task_comes_back(task: Task, payload: bytes) -> None:
    """A task and its payload survive the znode."""
    data = records.encode_task(task, payload)
    assert records.is_record(data)
    assert records.decode_task(task.id, data) == task
    assert records.body(data) == payload


@given(strategies.statuses, strategies.payloads)
def test_a_status_comes_back(status: Status, result: bytes) -> None:
    """A status and its result survive the znode."""
    data = records.encode_status(status, result)
    assert records.decode_status(data) == status
    assert records.body(data) == result


@given(strategies.workers)
def test_a_worker_comes_back(worker: Worker) -> None:
    """A worker's announcement survives the znode."""
    assert records.decode_worker(records.encode_worker(worker)) == worker


@given(strategies.masters)
def test_a_master_comes_back(master: Master) -> None:
    """A master's announcement survives the znode."""
    assert records.decode_master(records.encode_master(master)) == master


@given(strategies.ledgers)
def test_a_ledger_comes_back(ledger: Ledger) -> None:
    """A client's books survive the znode."""
    assert records.decode_ledger(records.encode_ledger(ledger)) == ledger


@every_kind
def test_the_form_is_as_documented(kind: bytes) -> None:
    """Mark, version, kind, length: the prefix other programs may rely on."""
    data, _ = KINDS[kind]
    assert data[:3] == b"\xc1MW"
    assert data[3] == 1
    assert data[4:5] == kind
    assert all(isinstance(key, str) for key in header_of(data))


@every_kind
def test_unknown_keys_are_ignored(kind: bytes) -> None:
    """A later program may add fields without changing the format version."""
    data, decode = KINDS[kind]
    header = header_of(data) | {"added later": [1, {"deep": b"er"}], "and": None}
    assert decode(with_header(kind, header)) == decode(data)


def test_an_attempt_may_grow() -> None:
    """A later program may add a column to an attempt's row."""
    header = header_of(records.encode_task(TASK, b""))
    header["history"] = [[*row, "added later"] for row in header["history"]]
    assert records.decode_task("t", with_header(b"t", header)) == TASK


# --- what is refused -------------------------------------------------------------------------


@every_kind
def test_a_future_version_is_told_apart(kind: bytes) -> None:
    """A record of a newer format is a FutureRecord, which says to upgrade, not a broken one."""
    data, decode = KINDS[kind]
    with pytest.raises(FutureRecord, match="upgrade"):
        decode(data[:3] + bytes([records.FORMAT + 1]) + data[4:])


def test_only_what_is_sealed_has_the_newer_format() -> None:
    """A program of the first version reads all else, and takes nothing sealed for plain."""
    for data, _ in KINDS.values():
        assert data[3] == 1
    sealed = replace(TASK, sealed="key-1")
    assert records.encode_task(sealed, b"")[3] == 2
    assert records.decode_task("t", records.encode_task(sealed, b"")) == sealed
    status = Status(State.DONE, "echo", sealed="key-1")
    assert records.encode_status(status)[3] == 2
    assert records.decode_status(records.encode_status(status)) == status
    worker = Worker({"echo": True}, 1, 1, keys=("key-1", "key-2"))
    assert records.encode_worker(worker)[3] == 1
    assert records.decode_worker(records.encode_worker(worker)) == worker


@pytest.mark.parametrize("key_id", ["", "Key", "a b", "x" * 33, 7, ["k"]])
def test_a_key_that_is_none_is_refused(key_id: object) -> None:
    """It could be no worker's, and stands in what operators read."""
    header = header_of(records.encode_task(TASK, b"")) | {"sealed": key_id}
    with pytest.raises(BadRecord, match="a key's id"):
        records.decode_task("t", with_header(b"t", header))
    worker = header_of(records.encode_worker(Worker({"echo": True}, 1, 1))) | {"keys": [key_id]}
    with pytest.raises(BadRecord, match="keys' ids"):
        records.decode_worker(with_header(b"w", worker))


@every_kind
def test_the_wrong_kind_is_refused(kind: bytes) -> None:
    """A record of one kind is never taken for another, though their fields may fit."""
    data, _ = KINDS[kind]
    for other, (_, decode) in KINDS.items():
        if other != kind:
            with pytest.raises(BadRecord, match="kind"):
                decode(data)


@every_kind
def test_every_truncation_is_refused_or_reads_the_same(kind: bytes) -> None:
    """Cut anywhere before the header's end a record is bad; behind it, only the body shrinks."""
    data, decode = KINDS[kind]
    end = 7 + struct.unpack_from("!H", data, 5)[0]
    for length in range(len(data)):
        if length < end:
            with pytest.raises(BadRecord, match=r"not one of our records|cut off after"):
                decode(data[:length])
        else:
            assert decode(data[:length]) == decode(data)


@every_kind
def test_every_flipped_bit_is_refused_or_read(kind: bytes) -> None:
    """No single flipped bit raises anything but BadRecord."""
    data, _ = KINDS[kind]
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        reads_or_refuses(kind, bytes(flipped))


@every_kind
@given(noise=st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(kind: bytes, noise: bytes) -> None:
    """Neither bare noise nor noise behind a sound prefix raises anything but BadRecord."""
    reads_or_refuses(kind, noise)
    reads_or_refuses(kind, records.MARK + noise)
    reads_or_refuses(kind, with_packed(kind, noise))


objects = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | strategies.texts
    | st.binary(max_size=20)
    | st.builds(msgpack.Timestamp, st.integers(0, 2**33), st.integers(0, 10**9 - 1))
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9)),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(strategies.texts, inner),
    max_leaves=12,
)


@every_kind
@given(data=st.data())
def test_any_msgpack_in_a_field_is_refused_or_read(kind: bytes, data: st.DataObject) -> None:
    """Any msgpack object at the place of any field raises nothing but BadRecord."""
    sound, _ = KINDS[kind]
    header = header_of(sound)
    field = data.draw(st.sampled_from([*header, "history", "options", "raw"]), "field")
    reads_or_refuses(kind, with_header(kind, header | {field: data.draw(objects, "value")}))


@every_kind
@given(header=objects)
def test_any_msgpack_for_a_header_is_refused_or_read(kind: bytes, header: object) -> None:
    """Any msgpack object at the place of the header raises nothing but BadRecord."""
    reads_or_refuses(kind, with_header(kind, header))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (b"t", "executor", "no such name"),
        (b"t", "executor", None),
        (b"t", "submitted", -1.0),
        (b"t", "submitted", float("nan")),
        (b"t", "submitted", float("inf")),
        (b"t", "submitted", True),
        (b"t", "attempts", 0),
        (b"t", "attempts", limits.MAX_ATTEMPTS + 1),
        (b"t", "attempts", 2.0),
        (b"t", "attempts", True),
        (b"t", "options", {"a": 1}),
        (b"t", "options", {b"a": "b"}),
        (b"t", "options", {str(n): "" for n in range(limits.MAX_OPTIONS + 1)}),
        (b"t", "options", {"a": "x" * limits.MAX_OPTION_BYTES}),
        (b"t", "history", {}),
        (b"t", "history", [["w", "failed", "", None]]),
        (b"t", "history", [["w", "bored", "", None, None]]),
        (b"t", "history", [["w", ["failed"], "", None, None]]),
        (b"t", "history", [["w", "failed", "x" * (limits.MAX_DETAIL + 1), None, None]]),
        (b"t", "history", [["w" * (limits.MAX_NAME + 1), "failed", "", None, None]]),
        (b"t", "history", [["w", "failed", "", "noon", None]]),
        (b"t", "history", [["", "failed", "", None, None]] * 22),
        (b"t", "raw", 1),
        (b"s", "state", "pending"),
        (b"s", "state", "asleep"),
        (b"s", "reason", "none"),
        (b"w", "executors", ["echo"]),
        (b"w", "executors", {"echo": 1}),
        (b"w", "executors", {"Echo": True}),
        (b"w", "executors", {f"x{n}": True for n in range(limits.MAX_EXECUTORS + 1)}),
        (b"w", "slots", -1),
        (b"w", "slots", limits.MAX_SLOTS + 1),
        (b"w", "process_slots", 13),
        (b"w", "state", "dead"),
        (b"w", "host", "x" * (limits.MAX_TEXT + 1)),
        (b"w", "host", b"host"),
        (b"m", "id", "a/b"),
        (b"m", "pid", 1.5),
        (b"l", "accepted", -1),
        (b"l", "accepted", 5),
        (b"l", "taken", 2**53 + 1),
    ],
)
def test_a_field_that_does_not_fit_is_refused(kind: bytes, field: str, value: object) -> None:
    """Every field's type and size is checked, and the error names the field or shows the books."""
    sound, decode = KINDS[kind]
    with pytest.raises(BadRecord, match=rf"'{field}'|more tasks than it accepted|state pending"):
        decode(with_header(kind, header_of(sound) | {field: value}))


def test_a_body_without_a_header_is_refused() -> None:
    """A mark alone, as anybody can put over a pending task, has no payload to speak of."""
    for data in (b"", b"plain", records.MARK, records.MARK + b"\x01t\x00"):
        with pytest.raises(BadRecord):
            records.body(data)


# --- what a hostile header can cost ----------------------------------------------------------

NEST = limits.MAX_HEADER - 1_000  # bytes, which leave room for the sound rest of the header


def lists_that_claim(length: int) -> bytes:
    """As many nested lists as fit, each claiming to hold `length` things."""
    opening = b"\xdc" + struct.pack("!H", length)
    return opening * 1_000 + b"\xc0" * (NEST - 3_000)


@every_kind
@pytest.mark.parametrize(
    "hostile",
    [
        b"\x91" * NEST,
        b"\x91" * 1_000 + b"\xc0",
        b"\x91" * 500 + b"\xc0",
        b"\x81\xa1a" * (NEST // 3),
        lists_that_claim(999),
        lists_that_claim(60_000),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdc\xff\xfe" + b"\x90" * (NEST - 3),
    ],
    ids=lambda data: f"{data[:6].hex()}-{len(data)}",
)
def test_a_hostile_header_costs_little(kind: bytes, hostile: bytes) -> None:
    """Deep nests and huge lengths in 64 KB are turned away in little time and memory."""
    sound, _ = KINDS[kind]
    for field in (*header_of(sound), "history"):
        header = header_of(sound) | {field: None}
        packed = msgpack.packb(header)
        key = msgpack.packb(field)
        data = with_packed(kind, packed.replace(key + b"\xc0", key + hostile, 1))
        tracemalloc.start()
        began = time.process_time()
        reads_or_refuses(kind, data)
        spent = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert spent < 0.2, "seconds"
        assert peak < 20e6, "bytes"


# --- sizes -----------------------------------------------------------------------------------

WORST_DETAIL = "é" * limits.MAX_DETAIL
WORST_OPTIONS = {f"{n:>0125}": "v" * 125 for n in range(limits.MAX_OPTIONS)}
WORST_HISTORY = tuple(
    Attempt("w" * limits.MAX_NAME, reason, WORST_DETAIL, 1.5e9, 1.6e9)
    for reason, times in (
        (Reason.OUT_OF_MEMORY, limits.MAX_ATTEMPTS - 1),
        (Reason.LOST, limits.MAX_LOSSES - 1),
    )
    for _ in range(times)
)
WORST_TASK = Task(
    "t",
    "e" * limits.MAX_EXECUTOR_NAME,
    1.4e9,
    limits.MAX_ATTEMPTS,
    WORST_OPTIONS,
    WORST_HISTORY,
    raw=True,
    sealed="k" * limits.MAX_KEY_ID,
)
WORST_PAYLOAD = b"p" * (limits.MAX_PAYLOAD + limits.MAX_SEAL)


def test_the_largest_task_fits_into_one_request() -> None:
    """Payload, options and history at their limits leave room for the paths around the record."""
    limits.check_options(WORST_OPTIONS)
    data = records.encode_task(WORST_TASK, WORST_PAYLOAD)
    name = "x" * limits.MAX_NAME
    around = 3 * len(paths.assignment(name, name)) + 1_000  # create, delete, checks, headers
    assert len(data) + around < limits.JUTE_MAXBUFFER
    assert len(records.body(data)) == len(WORST_PAYLOAD)
    assert len(records.decode_task("t", data).history) == len(WORST_HISTORY)


def test_the_largest_status_fits_into_one_request() -> None:
    """The same holds for the status that such a task ends in, one attempt later."""
    history = (*WORST_HISTORY, WORST_HISTORY[0])
    status = Status(
        State.FAILED,
        WORST_TASK.executor,
        "w" * limits.MAX_NAME,
        1.4e9,
        1.5e9,
        1.6e9,
        Reason.LOST,
        history,
        WORST_TASK.sealed,
    )
    data = records.encode_status(status, WORST_PAYLOAD)
    assert len(data) + 3 * limits.MAX_NAME + 1_000 < limits.JUTE_MAXBUFFER
    assert len(records.decode_status(data).history) == len(history)


def test_one_byte_more_is_refused() -> None:
    """The error says how much there was, what the limit is and what to do instead."""
    with pytest.raises(PayloadTooLarge, match=r"task t has 900,001 bytes.*900,000.*elsewhere"):
        records.encode_task(TASK, b"p" * (limits.MAX_PAYLOAD + 1))
    with pytest.raises(PayloadTooLarge, match="the result has 900,001 bytes"):
        records.encode_status(STATUS, b"p" * (limits.MAX_PAYLOAD + 1))


def test_a_header_too_long_for_its_length_field_is_refused() -> None:
    """What does not fit into the header raises PayloadTooLarge, never a struct.error."""
    with pytest.raises(PayloadTooLarge, match="header"):
        records.encode_task(replace(TASK, options={"a": "x" * limits.MAX_HEADER}), b"")


def test_options_are_bounded() -> None:
    """Options that would crowd out the history are refused before a task is submitted."""
    limits.check_options({str(n): "" for n in range(limits.MAX_OPTIONS)})
    limits.check_options({"a": "x" * (limits.MAX_OPTION_BYTES - 1)})
    for options in (
        {str(n): "" for n in range(limits.MAX_OPTIONS + 1)},
        {"a": "x" * limits.MAX_OPTION_BYTES},
        {"a": 1},
        {1: "a"},
        {"a": "\udcff"},  # what a shell's undecodable argument becomes
    ):
        with pytest.raises(Refused):
            limits.check_options(options)  # type: ignore[arg-type]


@given(st.text())
def test_a_tail_keeps_the_end_within_its_bound(text: str) -> None:
    """Evidence is cut to its last bytes, is always Unicode text, and never grows."""
    end = limits.tail(text * 200)
    assert len(end.encode()) <= limits.MAX_DETAIL
    sound = (text * 200).encode(errors="replace").decode()
    assert sound.endswith(end)
    if len(sound.encode()) <= limits.MAX_DETAIL:
        assert end == sound
