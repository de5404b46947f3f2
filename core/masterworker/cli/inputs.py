"""The payloads of `mwctl submit`: named files, a list of files, stdin as a whole or line by line.

Names are checked before anything is submitted. Files are read when it is their turn, and lines when
they come, so that only a bounded part of the payloads is in memory.
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
"""Payloads handed over together."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of payloads after which no more are added to a batch."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a payload comes from: `name` as users know it, and the file, if it is one.

    `read` returns the payload; it raises OSError or PayloadTooLarge.
    """

    name: str
    file: Path | None
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload that was read, or the error why it could not be."""

    source: Source
    data: bytes = b""
    error: Exception | None = None


class Inputs:
    """All that one call submits, in order: the arguments, each `--payload`, the names in the list.

    Raises click.UsageError for names that are no files, and PayloadTooLarge for a file that no task
    can have.
    """

    def __init__(
        self, arguments: Sequence[str], payloads: Sequence[str], listing: str | None
    ) -> None:
        if [*arguments, *payloads, listing].count("-") > 1:
            raise click.UsageError("stdin can be read once: '-' was given twice")
        self._lines_at = arguments.index("-") if "-" in arguments else None
        self._sources = [_argument(name) for name in arguments if name != "-"]
        self._sources += [_payload(name) for name in payloads]
        if listing is not None:
            self._sources += [_listed(name, listing) for name in _names(listing)]
        if not (arguments or payloads or listing is not None):
            raise click.UsageError(
                "there is no payload: name files, or give '-' to make each line of stdin a task"
            )
        self._next = 0
        """How many sources were handed over."""
        self._lines_left = self._lines_at is not None
        self.single = len(self._sources) == 1 and self._lines_at is None and listing is None
        """Whether it is one payload by the form of the call, whatever a list may hold."""

    @property
    def files(self) -> Iterator[Path]:
        """The files among the sources."""
        return (source.file for source in self._sources if source.file is not None)

    @property
    def left(self) -> list[str]:
        """The names of those that were not handed over; '-' for lines of stdin."""
        names = [source.name for source in self._sources[self._next :]]
        return ["-", *names] if self._lines_left else names

    def batches(
        self, wake: int | None = None, patience: Callable[[], float | None] = lambda: None
    ) -> Iterator[list[Payload]]:
        """The payloads, in batches that are bounded in count and bytes.

        While there is no line to read, an empty batch is yielded whenever the descriptor `wake` can
        be read, or `patience`, in seconds, is over.
        """
        batch: list[Payload] = []
        size = 0
        for source in self._each(wake, patience):
            if source is not None:
                batch.append(_read(source))
                size += len(batch[-1].data)
            if source is None or len(batch) >= BATCH_COUNT or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _each(
        self, wake: int | None, patience: Callable[[], float | None]
    ) -> Iterator[Source | None]:
        """The sources; None where the next one has to be waited for."""
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
        raise click.UsageError(f"there is no file {name!r}; to submit the text itself: {echo}")
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
        raise click.UsageError(f"{given_by} {name!r} is a folder: name the files in it")
    if not os.access(name, os.R_OK):
        raise click.UsageError(f"{given_by} {name!r}: Permission denied")
    if stat.S_ISREG(found.st_mode) and found.st_size > limits.MAX_PAYLOAD:
        raise _too_large(name, "; nothing was submitted")
    path = Path(name)
    return Source(name, path, lambda: _contents(path))


def _names(listing: str) -> Iterator[str]:
    """The names in a list, one a line."""
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
        f"the payload {name} is larger than the limit of {limits.MAX_PAYLOAD:,} bytes"
        f"{what_follows}: store the data elsewhere and submit its name"
    )


def _lines(wake: int | None, patience: Callable[[], float | None]) -> Iterator[Source | None]:
    """Each line of stdin, without its end; a line that is too long, or cannot be read, is the last.

    Yields None when the next line is not there yet.
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
