"""Whatever others call things: a log line, a table's line and a complaint stay lines, and short."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from masterworker.cli.logs import MAX_LINE, JsonFormatter, TextFormatter
from masterworker.cli.output import MAX_CELL, say, table

from . import hostile

HEAD = 200
"""Characters of a log line beside its message: time, level, logger, and JSON's keys."""

WIDEST = 12
"""Characters that JSON needs for one beyond the first 65,536: two escapes of six."""

texts = st.text(max_size=200) | hostile.names
nasty = st.sampled_from(
    ["\x1b[2J\x1b]0;title\x07", "\r\nERROR forged", "\u202e", "\x9b31m", "\U000e0001"]
)
loud = st.builds(
    lambda text, nasty, times: (text + nasty) * times, texts, nasty, st.integers(1, 400)
)


@given(loud, st.sampled_from([TextFormatter(), JsonFormatter()]))
@example("\U0001f600" * 100_000, JsonFormatter())
@example("\x00" * 100_000, TextFormatter())
def test_log_line(message: str, formatter: logging.Formatter) -> None:
    """Task, worker and host names, an executor's stderr: printable, on one line, and bounded."""
    record = logging.LogRecord("masterworker.test", logging.INFO, "", 0, "%s", (message,), None)
    line = formatter.format(record)
    assert line.isprintable()
    if isinstance(formatter, JsonFormatter):
        assert len(line) <= WIDEST * MAX_LINE + HEAD
        assert len(json.loads(line)["message"]) <= MAX_LINE
    else:
        assert len(line) <= MAX_LINE + HEAD


@given(st.lists(loud | st.none() | st.lists(texts, max_size=5) | st.integers(), min_size=1))
def test_table(values: list[object]) -> None:
    """Every line of a table is printable, and no cell is wider than the stated cap."""
    rows = [{"host": value, "executors": value} for value in values]
    lines = list(table(rows, ["host", "executors"]))
    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() and len(line) <= 2 * MAX_CELL + 2 for line in lines)


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\u202e", "\r", "\x00"])
def test_complaint(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What `mwctl` says on stderr keeps its line ends and moves no terminal."""
    say(f"task {text} failed:\nthe rest")
    said = capsys.readouterr().err
    assert said.startswith("mwctl: task ")
    assert said.count("\n") == 2
    assert all(line.isprintable() for line in said.split("\n"))
