"""What is written to stdout as data, and what is said on stderr beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ..words.limits import MAX_NAME
from .logs import escape, shorten

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
    """A file, or a folder, to be written; the folder it lies in must be there."""

    def __init__(self, *, dir_okay: bool = False) -> None:
        super().__init__(writable=True, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}", param, ctx)
        return path


def write_bytes(data: bytes, file: Path | None) -> None:
    """Write exactly these bytes to a file, or to stdout if it is None.

    A file is there whole or not at all. Raises OSError.
    """
    if file is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif file.exists() and not file.is_file():  # a device or a pipe
        file.write_bytes(data)
    else:
        part = file.with_name(f".{file.name}.part")
        try:
            part.write_bytes(data)
            part.replace(file)
        except OSError:
            part.unlink(missing_ok=True)
            raise


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
    """Say on stderr what somebody should know."""
    say(f"warning: {message}")


def say(message: str) -> None:
    """Say something on stderr."""
    click.echo("mwctl: " + escape(message, keep="\n"), err=True)
