"""The operator's configuration: what is refused, and that it says where."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from masterworker import BadConfiguration, TaskContext
from masterworker.execution.configuration import (
    check_tables,
    configure,
    load_configuration,
    split_time_limits,
    with_time_limits,
)
from masterworker.words.executor import Executor


def limit(raw: Mapping[str, Any]) -> int:
    """An executor's config function."""
    value = raw.get("limit", 10)
    if value == "defect":
        raise KeyError("limits")
    if not isinstance(value, int):
        raise ValueError(f"limit is {value!r}, expected a whole number")
    return value


def run(payload: bytes, task: TaskContext) -> bytes:
    """An executor's function; nothing here calls it."""
    raise NotImplementedError


EXECUTORS = {
    "sized": Executor("sized", run, config=limit, plugin="sizes"),
    "plain": Executor("plain", run, plugin="plains"),
}


def written(tmp_path: Path, text: str | bytes) -> Path:
    """A configuration file with this text."""
    path = tmp_path / "worker.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_tables_are_read(tmp_path: Path) -> None:
    """The tables come back as plain data, by executor name."""
    path = written(tmp_path, '[executors.command.allow]\nlist = ["ls", "-l"]\n[executors.x-1]\n')
    assert load_configuration(path) == {"command": {"allow": {"list": ["ls", "-l"]}}, "x-1": {}}


def test_empty_file_configures_nothing(tmp_path: Path) -> None:
    """A file without tables is a valid configuration."""
    assert load_configuration(written(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("[executors.echo\n", "line 1"),
        (b"\n# \xff\n", "utf-8"),
        ("[executor.echo]\n", "unknown key 'executor'"),
        ("slots = 4\n", "unknown key 'slots'"),
        ("executors = 4\n", "'executors' is 4"),
        ("[executors]\necho = 4\n", "executors.echo is 4"),
        ("[executors.'a:b']\n", "[executors.a:b]"),
    ],
)
def test_bad_file_is_refused_with_the_place(
    tmp_path: Path, text: str | bytes, evidence: str
) -> None:
    """Every mistake names the file and the line or key."""
    path = written(tmp_path, text)
    with pytest.raises(BadConfiguration) as caught:
        load_configuration(path)
    assert str(path) in str(caught.value)
    assert evidence in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is the operator's mistake, not a crash."""
    with pytest.raises(BadConfiguration, match=r"nowhere\.toml: No such file"):
        load_configuration(tmp_path / "nowhere.toml")


def test_configure_calls_each_executor() -> None:
    """An executor sees its table, or an empty one; one that takes none gets None."""
    assert configure(EXECUTORS, {"sized": {"limit": 3}}) == {"sized": 3, "plain": None}
    assert configure(EXECUTORS, {}) == {"sized": 10, "plain": None}


def test_refused_table_names_file_table_and_plugin() -> None:
    """A ValueError of the executor becomes the operator's error, with everything to find it."""
    with pytest.raises(BadConfiguration) as caught:
        configure(EXECUTORS, {"sized": {"limit": "x"}}, file=Path("/etc/worker.toml"))
    message = str(caught.value)
    assert "[executors.sized] of /etc/worker.toml: limit is 'x', expected a whole" in message
    assert "plugin 'sizes'" in message


def test_defect_of_a_config_function_is_evidence_too() -> None:
    """Whatever else the function raises is no bare traceback: it names the exception."""
    with pytest.raises(BadConfiguration, match=r"\[executors\.sized\]: KeyError\('limits'\)"):
        configure(EXECUTORS, {"sized": {"limit": "defect"}})


def test_table_for_an_executor_that_takes_none() -> None:
    """A table that nothing would read is refused, even when it is empty."""
    with pytest.raises(BadConfiguration, match=r"\[executors\.plain\].*takes no configuration"):
        configure(EXECUTORS, {"plain": {}})


def test_table_for_an_executor_not_run_here(caplog: pytest.LogCaptureFixture) -> None:
    """Workers may share one file, so a table too many is only worth a warning."""
    with caplog.at_level(logging.WARNING):
        check_tables(EXECUTORS, {"other": {}})
    assert "[executors.other] is not used: this worker runs plain, sized" in caplog.text


# --- time limits -------------------------------------------------------------------------------


def test_an_operator_sets_the_time_limit_of_any_executor() -> None:
    """The key is the worker's: no executor sees it, and it replaces the executor's own limit."""
    tables, limits = split_time_limits({"sized": {"limit": 3, "time_limit": 60}, "plain": {}})
    assert (tables, limits) == ({"sized": {"limit": 3}, "plain": {}}, {"sized": 60.0})
    tables, limits = split_time_limits({"plain": {"time_limit": 0.5}})
    assert tables == {}
    executors = with_time_limits(EXECUTORS, limits)
    assert (executors["plain"].time_limit, executors["sized"].time_limit) == (0.5, None)


@pytest.mark.parametrize("value", [0, -1, True, "60", float("inf"), float("nan"), [1]])
def test_a_time_limit_that_is_none_is_refused(value: object) -> None:
    """The message says which table, and what was expected."""
    with pytest.raises(BadConfiguration, match=r"\[executors.plain\]: time_limit is .*above 0"):
        split_time_limits({"plain": {"time_limit": value}})


def test_an_inline_executor_can_have_no_time_limit() -> None:
    """Nothing could enforce it, so the worker does not start."""
    inline = {"plain": Executor("plain", run, inline=True)}
    with pytest.raises(BadConfiguration, match="inline attempt cannot be stopped"):
        with_time_limits(inline, {"plain": 1.0})
