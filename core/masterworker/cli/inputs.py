"""The payloads of `mwctl submit`: named files, a list of files, all of stdin, or its lines.

Names are checked before anything is submitted. Files and lines are read one batch at a time, so
only a bounded part of the payloads is in memory.
"""

from __future__ import annotations

import os
import select
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click

from ..words import limits
from ..words.errors import PayloadTooLarge

STDIN: Final = 0
"""The descriptor of stdin."""

BLOCK: Final = 65_536
"""Bytes read from stdin at a time."""

BATCH_COUNT: Final = 500
"""Maximum number of payloads in a batch."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of payloads after which a batch is complete."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a payload comes from: the `name` shown to users, and the file, if there is one.

    `read` returns the payload. It raises OSError or PayloadTooLarge.
    """

    name: str
    file: Path | None
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload that was read, or the error that prevented it."""

    source: Source
    data: bytes = b""
    error: Exception | None = None


class Inputs:
    """All payloads of one call, in order: arguments, each `--payload`, the names in the list.

    Raises click.UsageError for a name that is not a readable file, and PayloadTooLarge for a file
    above the size limit.
    """

    def __init__(
        self, arguments: Sequence[str], payloads: Sequence[str], listing: str | None
    ) -> None:
        if [*arguments, *payloads, listing].count("-") > 1:
            raise click.UsageError("'-' was given twice, but stdin can be read only once")
        self._lines_at = arguments.index("-") if "-" in arguments else None
        self._sources = [_argument(name) for name in arguments if name != "-"]
        self._sources += [_payload(name) for name in payloads]
        if listing is not None:
            self._sources += [_listed(name, listing) for name in _names(listing)]
        if not (arguments or payloads or listing is not None):
            raise click.UsageError(
                "no payload given: name files, or use '-' to submit each line of stdin as a task"
            )
        self._next = 0
        """Number of sources yielded so far."""
        self._collected: list[str] = []
        """The names of the sources in a batch that is not complete yet."""
        self._lines_left = self._lines_at is not None
        self.single = len(self._sources) == 1 and self._lines_at is None and listing is None
        """Whether the call names exactly one payload. A list or lines count as several."""

    @property
    def files(self) -> Iterator[Path]:
        """The files among the sources."""
        return (source.file for source in self._sources if source.file is not None)

    @property
    def left(self) -> list[str]:
        """The names of the sources in no batch so far. '-' stands for the lines of stdin."""
        lines = ["-"] if self._lines_left else []
        return [*self._collected, *lines, *(source.name for source in self._sources[self._next :])]

    def batches(
        self, wake: int | None = None, patience: Callable[[], float | None] = lambda: None
    ) -> Iterator[list[Payload]]:
        """The payloads, in batches bounded in count and bytes.

        While stdin has no line, an empty batch is yielded whenever the descriptor `wake` becomes
        readable or `patience`, in seconds, has passed.
        """
        batch: list[Payload] = []
        size = 0
        for source in self._each(wake, patience):
            if source is not None:
                self._collected.append(source.name)
                batch.append(_read(source))
                size += len(batch[-1].data)
            if source is None or len(batch) >= BATCH_COUNT or size >= BATCH_BYTES:
                self._collected.clear()
                yield batch
                batch, size = [], 0
        self._collected.clear()
        if batch:
            yield batch

    def _each(
        self, wake: int | None, patience: Callable[[], float | None]
    ) -> Iterator[Source | None]:
        """The sources. Yields None while the next one is not available."""
        for index in range(len(self._sources) + 1):
            if index == self._lines_at:
                yield from _lines(wake, patience)
                self._lines_left = False
            if index < len(self._sources):
                self._next = index + 1
                yield self._sources[index]


def _read(source: Source) -> Payload:
    try:
        return Payload(source, source.read())
    except (OSError, PayloadTooLarge) as error:
        return Payload(source, error=error)


def _argument(name: str) -> Source:
    if not os.path.lexists(name):
        echo = f"echo {shlex.quote(name)} | mwctl submit --payload -"
        raise click.UsageError(f"file {name!r} not found. To submit the text itself, run: {echo}")
    return _file(name, "FILE")


def _payload(name: str) -> Source:
    if name == "-":
        return Source("-", None, lambda: _bounded(sys.stdin.buffer, "from stdin"))
    return _file(name, "--payload")


def _listed(name: str, listing: str) -> Source:
    return _file(name, f"--from-file {listing}")


def _file(name: str, given_by: str) -> Source:
    try:
        found = os.stat(name)  # noqa: PTH116 - the name as it was given
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"{given_by} {name!r}: {why}") from None
    if stat.S_ISDIR(found.st_mode):
        raise click.UsageError(f"{given_by} {name!r} is a folder. Name the files in it")
    if not os.access(name, os.R_OK):
        raise click.UsageError(f"{given_by} {name!r}: Permission denied")
    if stat.S_ISREG(found.st_mode) and found.st_size > limits.MAX_PAYLOAD:
        raise _too_large(name, "; nothing was submitted")
    path = Path(name)
    return Source(name, path, lambda: _contents(path))


def _names(listing: str) -> Iterator[str]:
    """The names in a list, one per line."""
    try:
        with click.open_file(listing, "rb") as lines:
            for line in lines:
                if name := line.rstrip(b"\n"):
                    yield os.fsdecode(name)
    except OSError as error:
        raise click.UsageError(f"--from-file {listing}: {error.strerror}") from None


def _contents(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file, str(path))


def _bounded(stream: BinaryIO, name: str) -> bytes:
    payload = stream.read(limits.MAX_PAYLOAD + 1)
    if len(payload) > limits.MAX_PAYLOAD:
        raise _too_large(name)
    return payload


def _too_large(name: str, what_follows: str = "") -> PayloadTooLarge:
    return PayloadTooLarge(
        f"payload {name} is larger than the limit of {limits.MAX_PAYLOAD:,} bytes{what_follows}. "
        "Store the data elsewhere and submit a reference to it"
    )


def _lines(wake: int | None, patience: Callable[[], float | None]) -> Iterator[Source | None]:
    """The lines of stdin, without line ends. Stops after a line that is too long or unreadable.

    Yields None while the next line is not available.
    """
    number = 0
    rest = b""
    while True:
        if not select.select([STDIN], [], [], 0)[0]:
            yield None
            waited_for = [STDIN] if wake is None else [STDIN, wake]
            if STDIN not in select.select(waited_for, [], [], patience())[0]:
                continue
        try:
            block = os.read(STDIN, BLOCK)
        except OSError as error:
            yield _unread(f"line {number + 1}", error)
            return
        *lines, rest = (rest + block).split(b"\n")
        if not block and rest:
            lines, rest = [rest], b""
        for line in lines:
            number += 1
            yield _line(number, line)
            if len(line) > limits.MAX_PAYLOAD:
                return
        if not block:
            return
        if len(rest) > limits.MAX_PAYLOAD:
            yield _line(number + 1, rest)
            return


def _line(number: int, line: bytes) -> Source:
    if len(line) > limits.MAX_PAYLOAD:
        return _unread(f"line {number}", _too_large(f"in line {number} of stdin"))
    return Source(f"line {number}", None, lambda: line)


def _unread(name: str, error: Exception) -> Source:
    def fail() -> bytes:
        raise error

    return Source(name, None, fail)
