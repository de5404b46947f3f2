"""Reads the fields of a record's header as untrusted input.

Any process may have written them. The type and size of every field are checked; an invalid field
raises BadRecord with its name.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from . import limits
from .errors import BadRecord, Refused
from .model import Attempt, Reason, State, WorkerState
from .paths import is_executor, is_key_id, is_name

_EnumT = TypeVar("_EnumT", State, Reason, WorkerState)

_MEMBERS: Final = {
    options: {member.value: member for member in options}
    for options in (State, Reason, WorkerState)
}


class Fields:
    """A decoded header, with one reader for each type of field.

    Each reader takes the field's name and raises BadRecord. An optional field that is missing reads
    as its empty value.
    """

    __slots__ = ("_header",)

    def __init__(self, header: dict[str, Any]) -> None:
        self._header = header

    def __contains__(self, key: str) -> bool:
        return self._header.get(key) is not None

    def _fail(self, key: str, expected: str) -> BadRecord:
        found = reprlib.repr(self._header.get(key))  # plain repr fails on deep nesting
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
        value = self._header.get(key)
        return _seconds(value, lambda: self._fail(key, "seconds, or nothing"))

    def count(self, key: str, least: int, most: int = limits.MAX_COUNT) -> int:
        value = self._header.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self._fail(key, f"a whole number from {least} to {most}")
        return value

    def attempts(self, key: str) -> int | None:
        value = self._header.get(key)
        if value is None:
            return None
        try:
            limits.check_attempts(value)
        except (TypeError, Refused) as error:
            raise BadRecord(f"field {key!r}: {error}") from None
        return cast("int", value)

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
        try:
            limits.check_options(value)
        except (TypeError, Refused) as error:
            raise BadRecord(f"field {key!r}: {error}") from None
        return cast("Mapping[str, str]", value)

    def offered(self, key: str) -> Mapping[str, bool]:
        value = self._header.get(key)
        if not isinstance(value, dict) or len(value) > limits.MAX_EXECUTORS:
            raise self._fail(key, f"a map of at most {limits.MAX_EXECUTORS} executors")
        for name, inline in value.items():
            if not (isinstance(name, str) and is_executor(name) and isinstance(inline, bool)):
                raise self._fail(key, "a map of executor names to true or false")
        return value

    def reasons(self, key: str) -> Mapping[str, str]:
        value = self._header.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > limits.MAX_EXECUTORS:
            raise self._fail(key, f"a map of at most {limits.MAX_EXECUTORS} executors")
        for name, why in value.items():
            known = isinstance(name, str) and is_executor(name)
            if not known or not _fits(why, limits.MAX_REASON):
                raise self._fail(key, "a map of executor names to short texts")
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
    """Whether `value` is text of at most `most` bytes."""
    return isinstance(value, str) and len(value.encode()) <= most


def _seconds(value: object, fail: Callable[[], BadRecord]) -> float | None:
    if value is None:
        return None
    if not limits.is_time(value):
        raise fail()
    return float(cast("float", value))


def _choice(options: type[_EnumT], value: object, fail: Callable[[], BadRecord]) -> _EnumT:
    member = _MEMBERS[options].get(value) if isinstance(value, str) else None
    if member is None:
        raise fail()
    return cast("_EnumT", member)
