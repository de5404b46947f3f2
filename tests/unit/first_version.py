"""What the first version of masterworker can read: frozen. Change it and it proves nothing.

It does what `words/records.py` did at commit ea524cc, in a few lines and with the numbers and names
of that day spelled out, so that no change of today's code changes it too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

RECORDS = Path(__file__).parents[1] / "data" / "records-1"

STATES = {"done", "failed"}
REASONS = {"failed", "crashed", "timed_out", "out_of_memory", "lost", "expired"}
WORKER_STATES = {"ready", "draining"}

Check = Callable[[Any], bool]


def record(name: str) -> bytes:
    """One of the kept records."""
    return (RECORDS / f"{name}.bin").read_bytes()


def header(data: bytes) -> tuple[str, dict[str, Any], bytes]:
    """A record's kind, header and body."""
    mark, version, kind, length = struct.unpack_from("!3sBcH", data)
    assert (mark, version) == (b"\xc1MW", 1), "a record the first version leaves alone"
    fields = msgpack.unpackb(data[7 : 7 + length], max_array_len=1_000)
    assert isinstance(fields, dict)
    return kind.decode(), fields, data[7 + length :]


def _text(most: int = 1_000) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= most


def _executor(value: Any) -> bool:
    return _text(64)(value) and re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", value) is not None


def _count(least: int, most: int = 2**53) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _seconds(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < 1e12)


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _attempt(row: Any) -> bool:
    worker, reason, detail, started, ended = row[:5]
    return (
        _text(200)(worker)
        and reason in REASONS
        and _text(2_000)(detail)
        and _seconds(started)
        and _seconds(ended)
    )


def _history(rows: Any) -> bool:
    return isinstance(rows, list) and len(rows) <= 21 and all(map(_attempt, rows))


def _options(value: Any) -> bool:
    texts = [*value, *value.values()]
    size = sum(len(text.encode()) for text in texts)
    return isinstance(value, dict) and len(value) <= 32 and size <= 8_000


def _offered(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 256
        and all(_executor(name) and type(inline) is bool for name, inline in value.items())
    )


FIELDS: dict[str, dict[str, Check]] = {
    "t": {
        "executor": _executor,
        "submitted": _seconds,
        "attempts": _optional(_count(1, 16)),
        "options": _optional(_options),
        "history": _optional(_history),
        "raw": _optional(lambda value: type(value) is bool),
    },
    "s": {
        "state": lambda value: value in STATES,
        "executor": _executor,
        "worker": _text(200),
        "submitted": _seconds,
        "started": _seconds,
        "ended": _seconds,
        "reason": _optional(lambda value: value in REASONS),
        "history": _optional(_history),
    },
    "w": {
        "executors": _offered,
        "slots": _count(0, 10_000),
        "process_slots": _count(0, 10_000),
        "host": _text(),
        "pid": _count(0, 2**31),
        "version": _text(),
        "state": lambda value: value in WORKER_STATES,
        "started": _seconds,
    },
    "m": {
        "id": _text(200),
        "host": _text(),
        "pid": _count(0, 2**31),
        "version": _text(),
        "started": _seconds,
    },
    "l": dict.fromkeys(("accepted", "taken", "expired", "batch"), _count(0)),
}
"""By kind, what each field has to be. A field that is not named here was ignored."""


def reads(data: bytes, kind: str) -> dict[str, Any]:
    """The header, as far as the first version understood it; AssertionError where it would not."""
    found, fields, body = header(data)
    assert found == kind
    assert len(body) <= 900_000
    for key, check in FIELDS[kind].items():
        assert check(fields.get(key)), f"the first version cannot read {key}: {fields.get(key)!r}"
    return {key: value for key, value in fields.items() if key in FIELDS[kind]}
