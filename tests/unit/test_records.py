"""Records: what is written is read back, and what is not sound is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given

from masterworker.words import records
from masterworker.words.errors import BadRecord, FutureRecord
from masterworker.words.model import (
    Ledger,
    Master,
    State,
    Status,
    Task,
    Worker,
)
from tests.unit import strategies
from tests.unit.records_support import (
    KINDS,
    TASK,
    every_kind,
    header_of,
    with_header,
)

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
    with pytest.raises(FutureRecord, match="Upgrade"):
        decode(data[:3] + bytes([records.FORMAT + 1]) + data[4:])


def test_only_what_is_sealed_has_the_newer_format() -> None:
    """A program of the first version reads all else, and takes nothing sealed for plain."""
    for data, _ in KINDS.values():
        assert data[3] == 1
    sealed = TASK._replace(sealed="key-1")
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
            with pytest.raises(BadRecord, match=r"not a masterworker record|truncated"):
                decode(data[:length])
        else:
            assert decode(data[:length]) == decode(data)


def test_a_body_without_a_header_is_refused() -> None:
    """A mark alone, as anybody can put over a pending task, has no payload to speak of."""
    for data in (b"", b"plain", records.MARK, records.MARK + b"\x01t\x00"):
        with pytest.raises(BadRecord):
            records.body(data)
