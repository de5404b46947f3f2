"""The evidence of an attempt without a result: one line that gives the reason, then details.

The first line represents the evidence wherever there is room for only one line. It is always kept;
of the details (a traceback, the child's output), only the end is kept.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from . import limits

MAX_POINT: Final = 400
"""Maximum bytes of the first line."""

LEAVES: Final = 3
"""Maximum number of exceptions of a group named in its line."""

_CUT: Final = "…"


def point(evidence: str) -> str:
    """The first line of the evidence, which says why the attempt has no result."""
    return evidence.partition("\n")[0]


def evidence(why: str, rest: str = "", most: int = limits.MAX_DETAIL) -> str:
    """Evidence of at most `most` bytes: `why` as the first line, then the end of `rest`."""
    head = _cut(_one_line(why), min(MAX_POINT, most))
    room = most - len(head.encode()) - 1
    tail = rest.encode(errors="replace")[-room:] if room > 0 else b""
    return f"{head}\n{tail.decode(errors='ignore')}".rstrip()


def bounded(text: str, most: int = limits.MAX_DETAIL) -> str:
    """The evidence itself if it has at most `most` bytes, else truncated in the same way."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    why, _, rest = text.partition("\n")
    return evidence(why, rest, most)


def of_exception(error: BaseException, top: TracebackType | None) -> str:
    """The evidence of an exception: its class and message, then its traceback from `top` on.

    The traceback's last line is omitted if it repeats the first line of the evidence.
    """
    why = _cut(point_of_exception(error), MAX_POINT)
    trace = "".join(traceback.format_exception(type(error), error, top)).rstrip()
    return evidence(why, "" if trace == why else trace.removesuffix(f"\n{why}"))


def point_of_exception(error: BaseException) -> str:
    """The class and message of an exception in one line, without its causes and notes.

    For an exception group, the line also names the first of its exceptions.
    """
    line = _line(error)
    if isinstance(error, BaseExceptionGroup):
        leaves = [_line(leaf) for leaf, _ in zip(_leaves(error), range(LEAVES + 1), strict=False)]
        more = "; ..." if len(leaves) > LEAVES else ""
        line = f"{line}: {'; '.join(leaves[:LEAVES])}{more}"
    return line


def _line(error: BaseException) -> str:
    kind = type(error)
    known = kind.__module__ in ("builtins", "__main__")
    name = kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = _one_line(str(error))
    except Exception:  # noqa: BLE001 - str() of an executor's class can raise anything
        message = "<exception str() failed>"
    return f"{name}: {message}" if message else name


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _cut(line: str, most: int) -> str:
    data = line.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len(_CUT.encode())].decode(errors="ignore") + _CUT
