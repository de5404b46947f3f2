"""The reference of the command line, held against the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from masterworker.cli import logs
from masterworker.cli.login import login_options
from masterworker.cli.sections import SharedOption
from masterworker.decisions.audit import Reading, report
from masterworker.words import errors
from masterworker.zookeeper.views import ClusterStatus, TaskView
from tests.cli.tree import COMMANDS, TREE, options

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")

SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
"""What stands under each heading."""

SHARED = {"--log-level", "--log-format", "--debug"}
"""The options of every command, described once."""

LOGIN = {max(one.opts, key=len) for one in click.command()(login_options(print)).params}
"""The options of every command that goes to ZooKeeper, described once."""

ROW = re.compile(r"^\| (`-[^|]*) \| ([^|]*) \|", re.MULTILINE)
"""A row of a table of options: the option, its default."""


def is_shared(option: click.Option) -> bool:
    """Whether the option can stand before the command too, as the page says."""
    return isinstance(option, SharedOption)


def rows(section: str) -> dict[str, str]:
    """The options that a section describes, by long name, and their defaults as it says."""
    return {
        re.findall(r"`(--[a-z-]+)`", option)[0]: default.strip(" `")
        for option, default in ROW.findall(SECTIONS[section])
    }


def long_options(command: click.Command) -> dict[str, click.Option]:
    """A command's options by long name."""
    return {max(option.opts, key=len): option for option in options(command)}


def test_every_command_has_a_section_and_no_other() -> None:
    """One heading for each command of the program."""
    described = {heading for heading in SECTIONS if heading.startswith("mwctl ")}
    assert described == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_described_and_no_other(path: str) -> None:
    """The table of a command has its options, all of them and none that does not exist."""
    assert set(rows(path)) == set(long_options(COMMANDS[path])) - SHARED - LOGIN


@pytest.mark.parametrize("path", COMMANDS)
def test_defaults_are_as_described(path: str) -> None:
    """Where the program has a plain default, the table has the same."""
    described = rows(path)
    for name, option in long_options(COMMANDS[path]).items():
        if name in described and isinstance(option.default, str | int | float | tuple):
            default = option.default
            values = default if isinstance(default, tuple) else (default,)
            shown = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
            if not option.is_flag and shown:
                assert described[name] == shown, name


def test_shared_options_are_described() -> None:
    """The options of logging stand where it says that every command has them."""
    assert set(rows("Common options")) == SHARED | LOGIN
    for command in COMMANDS.values():
        names = set(long_options(command))
        assert names >= SHARED
        assert ("--hosts" in names) == (names >= LOGIN)
        shared = {name for name, one in long_options(command).items() if is_shared(one)}
        assert shared == names & (SHARED | LOGIN | {"--hosts", "--session-timeout"})
    for level in logs.LEVELS:
        assert f"`{level}`" in SECTIONS["Common options"]


def test_examples_call_what_exists() -> None:
    """Every `mwctl` and every option on the page, also in the prose, is real."""
    called = set(re.findall(r"`mwctl ([a-z]+)|^mwctl ([a-z]+)", PAGE, re.MULTILINE))
    assert {one or other for one, other in called} <= {path.split()[-1] for path in TREE}
    every = {name for command in COMMANDS.values() for name in long_options(command)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= every | {"--help"}


def test_exit_codes_are_all_there() -> None:
    """Each exit code that an error of ours has stands in the table."""
    codes = re.findall(r"^\| (\d+)[ ,]", SECTIONS["Exit codes"], re.MULTILINE)
    ours = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.MasterworkerError)
    }
    assert {int(code) for code in codes} >= ours | {0, 2, 124, 130}


def test_json_has_the_keys_it_is_shown_with() -> None:
    """The documents on the page have keys that the program prints, in all of their parts."""
    status, audit, task = (
        json.loads(re.findall(r"```json\n(.*?)```", SECTIONS[f"mwctl {name}"], re.DOTALL)[0])
        for name in ("status", "audit", "tasks show")
    )
    empty = ClusterStatus(None, 0, (), {}, {}, 0, 0, {})
    assert status.keys() == empty.to_dict().keys()
    assert status["tasks"].keys() == empty.to_dict()["tasks"].keys()
    assert audit.keys() == report(Reading(), ()).to_dict().keys()
    assert task.keys() <= {*TaskView.__dataclass_fields__, "attempts"}
