"""Data on stdout, and messages on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ..words.limits import MAX_NAME
from .files import own_descriptor, sync, write_all, write_file
from .logs import escape, shorten

STDOUT: Final = 1
"""The descriptor of stdout."""

MAX_CELL: Final = MAX_NAME
"""Maximum number of characters of a table cell. Our own names always fit; longer text from others
is shortened."""

format_option = click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl"]),
    default="table",
    show_default=True,
    metavar="FORMAT",
    help="Output format: table, json (one document) or jsonl (one object per line).",
)


class OutputPath(click.Path):
    """A file to write, or with `dir_okay` a folder. Its parent folder must exist."""

    def __init__(self, *, dir_okay: bool = False) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if own_descriptor(path) is not None:
            if not path.exists():  # later, a connection may get this number
                self.fail(f"descriptor {path} is not open", param, ctx)
        elif path.exists():
            if not os.access(path, os.W_OK):
                self.fail(f"{path} is not writable", param, ctx)
        elif not path.parent.is_dir():
            self.fail(f"folder {path.parent} does not exist", param, ctx)
        elif self.dir_okay and os.fsdecode(value).endswith("/"):
            path.mkdir()
        return path


def unless_stdout(output: Path | None) -> Path | None:
    """This path, or None if it is only another name of stdout, such as /dev/stdout."""
    if output is None:
        return None
    with contextlib.suppress(OSError):
        if os.path.samestat(output.stat(), os.fstat(STDOUT)):
            return None
    return output


def make_folder(output: Path) -> None:
    """Create the folder for the results of several tasks if necessary. Raises UsageError."""
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"--output {output} must be a folder, because there can be several results: "
            f"{error.strerror}"
        ) from error


def write_bytes(data: bytes, file: Path | None) -> None:
    """Write exactly these bytes to a file, or to stdout if it is None, and sync them to disk.

    A regular file is never left partial. Raises OSError.
    """
    if file is None:
        sys.stdout.flush()  # keep the order of earlier output
        write_all(STDOUT, data)
        sync(STDOUT)
    else:
        write_file(data, file)


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], form: str) -> None:
    """Write rows to stdout. A table has only these columns."""
    if form == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    elif form == "json":
        click.echo(json.dumps(list(rows), indent=2))
    else:
        for line in table(rows, columns):
            click.echo(line)


def write_document(document: Mapping[str, Any], form: str) -> None:
    """Write one object to stdout as JSON, on a single line for `jsonl`."""
    click.echo(json.dumps(document, indent=None if form == "jsonl" else 2))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """The lines of a table: a header, then one line per row."""
    lines = [[column.upper() for column in columns]]
    lines += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def timestamp(seconds: float | None) -> str:
    """A time in seconds since the epoch in human-readable form; empty if unknown."""
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6] + "Z"
    except (ValueError, OverflowError, OSError):  # out of range: the time is untrusted
        return str(seconds)


def _cell(value: Any) -> str:
    if value in (None, "", [], ()):
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shorten(escape(text), MAX_CELL)


def complain(message: str) -> None:
    """Print an error on stderr. Control characters except newlines are escaped."""
    say(f"error: {message}")


def warn(message: str) -> None:
    """Print a warning on stderr."""
    say(f"warning: {message}")


def say(message: str) -> None:
    """Print a message on stderr. It is dropped if stderr cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        click.echo("mwctl: " + escape(message, keep="\n"), err=True)
