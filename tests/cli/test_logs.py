"""The log: one bounded line per record, whatever data it quotes."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from masterworker.cli.logs import MAX_LINE, JsonFormatter, TextFormatter, escape, shorten

HOSTILE = "task \x1b[2J\r\nERROR forged\x00 \u202e done"


def record(message: str, *, failed: bool = False) -> logging.LogRecord:
    """A log record, with the traceback of an error if `failed`."""
    info = None
    if failed:
        try:
            raise ValueError("the point of it")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("masterworker.test", logging.ERROR, "", 0, "%s", (message,), info)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_data_breaks_out_of_its_line(formatter: logging.Formatter) -> None:
    """Control characters, line ends and changes of direction are written as escapes."""
    line = formatter.format(record(HOSTILE))
    assert line.isprintable()
    assert "forged" in line


def test_text_line_begins_with_time_and_level() -> None:
    """Time in UTC, level, logger, message."""
    time, level, name, message = TextFormatter().format(record("a message")).split(" ", 3)
    assert time.endswith("Z")
    assert (level, name, message) == ("ERROR", "masterworker.test:", "a message")


def test_json_line_has_the_keys_and_the_text_itself() -> None:
    """What JSON escapes comes back as it was."""
    row = json.loads(JsonFormatter().format(record(HOSTILE)))
    assert row.keys() == {"time", "level", "logger", "message"}
    assert (row["level"], row["message"]) == ("ERROR", HOSTILE)


def test_json_line_has_the_fields_of_its_record() -> None:
    """Fields stand beside the message, bounded, and cannot replace the keys of every line."""
    said = record("a message")
    said.fields = {"task": "x" * 10_000, "attempt": 2, "seconds": None, "level": "forged"}
    row = json.loads(JsonFormatter().format(said))
    assert (row["attempt"], row["seconds"], row["level"]) == (2, None, "ERROR")
    assert len(row["task"]) <= MAX_LINE


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_lines_are_bounded_and_keep_both_ends(formatter: logging.Formatter) -> None:
    """Of a long message with a traceback the beginning and the error itself are kept."""
    line = formatter.format(record("begins " + "x" * 100_000, failed=True))
    assert len(line) < MAX_LINE + 200
    assert "begins" in line
    assert "the point of it" in line


def test_escapes_count_towards_the_bound() -> None:
    """A text of control characters is not a longer line than any other."""
    assert len(TextFormatter().format(record("\x00" * 100_000))) < MAX_LINE + 200


def test_escape_and_shorten_leave_plain_text_alone() -> None:
    """Nothing is changed that need not be, in whatever script."""
    assert escape("plain, schön, 平文") == "plain, schön, 平文"
    assert escape("a\nb\x07", keep="\n") == "a\nb\\x07"
    assert shorten("short", 5) == "short"
    assert len(shorten("x" * 500, 100)) <= 100
