"""Hostile bytes and names: msgpack that lies about its lengths, and everything of a wrong kind."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack
from hypothesis import strategies as st

from masterworker.words import limits, records
from tests.unit import strategies

KINDS: Final = (b"t", b"s", b"w", b"m", b"l")


def record(kind: bytes, header: bytes, body: bytes = b"", version: int = records.FORMAT) -> bytes:
    """A record with any header, as long as it says."""
    return records.MARK + struct.pack("!BcH", version, kind, len(header)) + header + body


# --- bombs: small to send, large or deep to read -------------------------------------------------

_FILL: Final = limits.MAX_HEADER

BOMBS: Final[dict[str, bytes]] = {
    "a list that claims 4 G entries": b"\xdd\xff\xff\xff\xff",
    "a map that claims 4 G entries": b"\xdf\xff\xff\xff\xff",
    "bytes that claim 4 GB": b"\xc6\xff\xff\xff\xff",
    "text that claims 4 GB": b"\xdb\xff\xff\xff\xff",
    "an extension that claims 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "lists in lists": b"\x91" * _FILL,
    "maps in maps": b"\x81\xa1a" * (_FILL // 3),
    "maps as keys": b"\x81" * _FILL,
    "lists in lists, all long": b"\xdc\x03\xe8" * (_FILL // 3),
    "lists in lists, all longer than allowed": b"\xdc\xff\xff" * (_FILL // 3),
    "maps in maps, all long": b"\xde\xff\xff\xa1a" * (_FILL // 5),
    "a map of lists, all long": b"\xde\x03\xe8" + b"\xa1a\xdc\x03\xe8" * (_FILL // 5),
    "many empty maps": b"\x81\xa1a\xdc\x03\xe8" + b"\x80" * 1_000,
    "many lists": b"\x81\xa1a\xdc\x00\x40" + (b"\xdc\x03\xe8" + b"\x90" * 1_000) * 64,
    "a map with many keys": b"\xde\x3f\xff" + b"".join(
        b"\xa3%03x\xc0" % (n % 4096) for n in range(0x3FFF)
    ),
    "an extension of each type": b"\x81\xa1a\xdc\x01\x00" + b"".join(
        b"\xd4" + bytes([code]) + b"x" for code in range(256)
    ),
    "extensions that are no timestamps": b"\x81\xa1a\x9f" + b"\xd4\x05x" * 15,
    "a timestamp": b"\x81\xa9submitted\xd6\xff\x00\x00\x00\x01",
    "a timestamp with too many nanoseconds": (
        b"\x81\xa9submitted\xc7\x0c\xff\xff\xff\xff\xff" + b"\x7f" * 8
    ),
    "a timestamp beyond all time": b"\x81\xa9submitted\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "a timestamp of a wrong length": b"\x81\xa9submitted\xc7\x03\xff\x01\x02\x03",
    "text that is not UTF-8": b"\x81\xa8executor\xa4\xff\xfe\xfd\xfc",
    "a key that is not UTF-8": b"\x81\xa4\xff\xfe\xfd\xfc\xc0",
    "a key that is bytes": b"\x81\xc4\x01x\xc0",
    "a surrogate": b"\x81\xa8executor\xa3\xed\xa0\x80",
    "not a number": b"\x82\xa8executor\xa4echo\xa9submitted\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "infinity": b"\x82\xa8executor\xa4echo\xa9submitted\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    "the largest number": b"\x82\xa8executor\xa4echo\xa9submitted\xcf" + b"\xff" * 8,
    "the smallest number": b"\x82\xa8executor\xa4echo\xa9submitted\xd3\x80" + b"\x00" * 7,
    "the byte that begins nothing": b"\xc1",
    "nothing": b"",
    "two objects": b"\x80\x80",
}  # fmt: skip
"""Headers by what they are. Most are as long as a header may be."""


def bombs() -> dict[str, bytes]:
    """Every bomb as the header of a record of every kind, and as bare data."""
    made = {f"bare: {name}": bomb for name, bomb in BOMBS.items()}
    for kind in KINDS:
        for name, bomb in BOMBS.items():
            made[f"{kind.decode()}: {name}"] = record(kind, bomb[: limits.MAX_HEADER])
    return made


# --- what hypothesis makes up --------------------------------------------------------------------

plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Whatever msgpack can say."""

FIELDS: Final = (
    "executor", "submitted", "attempts", "options", "history", "raw", "state", "worker", "started",
    "ended", "reason", "executors", "slots", "process_slots", "host", "pid", "version", "id",
    "accepted", "taken", "expired", "batch",
)  # fmt: skip

sound: st.SearchStrategy[bytes] = st.one_of(
    st.builds(records.encode_task, strategies.tasks, strategies.payloads),
    st.builds(records.encode_status, strategies.statuses, strategies.payloads),
    strategies.workers.map(records.encode_worker),
    strategies.masters.map(records.encode_master),
    strategies.ledgers.map(records.encode_ledger),
)
"""Records as we write them ourselves."""


@st.composite
def _forged(draw: st.DrawFn) -> bytes:
    """A sound record with some fields replaced by anything."""
    data = draw(sound)
    header = msgpack.unpackb(records_header(data))
    header |= draw(st.dictionaries(st.sampled_from(FIELDS), plain, min_size=1, max_size=3))
    kind = draw(st.just(data[4:5]) | st.sampled_from(KINDS) | st.binary(min_size=1, max_size=1))
    version = draw(st.just(records.FORMAT) | st.integers(0, 255))
    return record(kind, msgpack.packb(header), b"body", version)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A sound record with a few bytes changed, or cut off."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


def records_header(data: bytes) -> bytes:
    """The header's bytes of a sound record."""
    (length,) = struct.unpack_from("!H", data, 5)
    return data[7 : 7 + length]


znodes: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=64),
    st.builds(record, st.sampled_from(KINDS), st.binary(max_size=64)),
    plain.map(msgpack.packb),
    st.builds(record, st.sampled_from(KINDS), plain.map(msgpack.packb)),
    _forged(),
    _damaged(),
    sound,
)
"""What may stand in a znode."""

names: st.SearchStrategy[str] = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs", "Co"]), max_size=10),
    strategies.names,
    strategies.task_ids.map(lambda task: task + "\n"),
    st.builds("{}-{}".format, strategies.clients, st.text("0123456789٣²", max_size=20)),
    st.builds(lambda name, times: name * times, strategies.names, st.integers(1, 60)),
)
"""What a znode may be called, and what somebody may type."""
