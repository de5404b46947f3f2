"""What is written to stdout as data, and what is said on stderr beside it."""

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
"""Characters of one cell of a table: every name of ours is shown whole, and a text that somebody
else chose makes no line longer than a few of them."""

format_option = click.option(
    "-o",
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl"]),
    default="table",
    show_default=True,
    metavar="FORMAT",
    help="A table for people, one json document, or jsonl: one object a line.",
)


class OutputPath(click.Path):
    """A file to be written, or a folder if `dir_okay`; the folder it lies in must exist."""

    def __init__(self, *, dir_okay: bool = False) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if own_descriptor(path) is not None:
            if not path.exists():  # later, the number may be that of a connection
                self.fail(f"descriptor {path} is not open", param, ctx)
        elif path.exists():
            if not os.access(path, os.W_OK):
                self.fail(f"{path} cannot be written", param, ctx)
        elif not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}", param, ctx)
        elif self.dir_okay and os.fsdecode(value).endswith("/"):
            path.mkdir()
        return path


def make_folder(output: Path) -> None:
    """Make the folder for the results of several tasks if it is missing. Raises UsageError."""
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"--output {output} has to be a folder for the results of several tasks: "
            f"{error.strerror}"
        ) from error


def write_bytes(data: bytes, file: Path | None) -> None:
    """Write exactly these bytes to a file, or to stdout if it is None, and onto the disk behind it.

    A plain file is there whole or not at all. Raises OSError.
    """
    if file is None:
        sys.stdout.flush()  # what was written before comes before
        write_all(STDOUT, data)
        sync(STDOUT)
    else:
        write_file(data, file)


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], form: str) -> None:
    """Write rows to stdout; as a table, with these columns only."""
    if form == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    elif form == "json":
        click.echo(json.dumps(list(rows), indent=2))
    else:
        for line in table(rows, columns):
            click.echo(line)


def write_document(document: Mapping[str, Any], form: str) -> None:
    """Write one object to stdout as JSON: over several lines, or for `jsonl` on one."""
    click.echo(json.dumps(document, indent=None if form == "jsonl" else 2))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """The lines of a table: a head, then a line for each row."""
    lines = [[column.upper() for column in columns]]
    lines += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def timestamp(seconds: float | None) -> str:
    """A time in seconds since the epoch as people read it; empty if nobody knows it."""
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6] + "Z"
    except (ValueError, OverflowError, OSError):  # other people's clocks write what they like
        return str(seconds)


def _cell(value: Any) -> str:
    if value in (None, "", [], ()):
        return "-"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shorten(escape(text), MAX_CELL)


def complain(message: str) -> None:
    """Say on stderr what went wrong. It may quote others' data: only its line ends are kept."""
    say(f"error: {message}")


def warn(message: str) -> None:
    """Say on stderr what the user should know."""
    say(f"warning: {message}")


def say(message: str) -> None:
    """Say something on stderr, if it can be written."""
    with contextlib.suppress(OSError, ValueError):
        click.echo("mwctl: " + escape(message, keep="\n"), err=True)
