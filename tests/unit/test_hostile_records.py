"""Records that somebody made up: none does worse than BadRecord, and none costs much."""

from __future__ import annotations

import gc
import struct
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.words import limits, records
from masterworker.words.errors import BadRecord
from tests.unit import strategies
from tests.unit.records_support import (
    KINDS,
    every_kind,
    header_of,
    reads_or_refuses,
    with_header,
    with_packed,
)


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
    with pytest.raises(
        BadRecord, match=rf"'{field}'|more taken and expired tasks than accepted|state pending"
    ):
        decode(with_header(kind, header_of(sound) | {field: value}))


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
        gc.disable()  # a collection of all that other tests have left is no cost of the reader
        tracemalloc.start()
        began = time.process_time()
        reads_or_refuses(kind, data)
        spent = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gc.enable()
        assert spent < 0.2, "seconds"
        assert peak < 20e6, "bytes"
