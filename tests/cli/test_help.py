"""Help, versions and imports: what the command line costs and says before it does anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from masterworker import __version__
from masterworker.cli.command import Group
from tests.cli.calling import mwctl
from tests.cli.tree import COMMANDS, TREE, options
from tests.unit.throwaway_plugin import install


def imported_by(*arguments: str) -> set[str]:
    """The modules that a call of `mwctl` has imported when it is done."""
    code = (
        "import sys; from masterworker.cli import main; main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    return set(subprocess.run(command, capture_output=True, check=True, text=True).stderr.split())


@pytest.mark.parametrize("path", TREE)
def test_help_has_examples(path: str) -> None:
    """Every command's help ends with examples, which call that command."""
    ended = mwctl(*path.split()[1:], "--help")
    assert (ended.code, ended.err) == (0, "")
    _, _, examples = ended.out.decode().partition("\nExamples:\n")
    assert re.search(rf"\b{path}\b", examples)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_a_variable(path: str) -> None:
    """MWCTL_ and the option's name, as the help says."""
    for option in options(COMMANDS[path]):
        [*_, long] = option.opts
        assert option.envvar == "MWCTL" + long[1:].replace("-", "_").upper()
        assert option.show_envvar


@pytest.mark.parametrize("path", TREE)
def test_a_group_and_the_command_say_the_same(path: str) -> None:
    """The line in a group's help is written without importing the command, and fits it."""
    command = TREE[path]
    if isinstance(command, Group):
        for name, lazy in command.lazy.items():
            assert str(TREE[f"{path} {name}"].help).splitlines()[0] == lazy.short_help


def test_version() -> None:
    """`mwctl --version` names the version."""
    assert mwctl("--version").out.decode() == f"mwctl, version {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "list"]])
def test_kazoo_is_not_imported_in_vain(arguments: list[str]) -> None:
    """What needs no ZooKeeper does not pay for its client."""
    assert not any(name.partition(".")[0] == "kazoo" for name in imported_by(*arguments))


def test_unexpected_error_is_one_line_unless_debugged(tmp_path: Path) -> None:
    """A defect exits with 1; --debug shows where it is. Here, importlib.metadata is broken."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata\ndef broken(*_, **__): raise ZeroDivisionError('by \\x1b')\n"
        "importlib.metadata.distributions = broken\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    brief = mwctl("plugins", "list", env=env)
    assert (brief.code, brief.out) == (1, b"")
    assert brief.err == "mwctl: error: unexpected ZeroDivisionError: by \\x1b\n"
    assert "Traceback" in mwctl("plugins", "list", "--debug", env=env).err
    assert "Traceback" in mwctl("plugins", "list", env=env | {"MWCTL_DEBUG": "1"}).err


def test_plugins_list_shows_the_broken_ones_too(tmp_path: Path) -> None:
    """A broken plugin is a row with its reason, and no reason to fail."""
    source = "raise RuntimeError('needs \\x1b[2J repair')"
    site = install(tmp_path, "aged", source, distribution="aged", version="0.9")
    env = {"PYTHONPATH": str(site)}
    ended = mwctl("plugins", "list", "-o", "json", env=env)
    assert (ended.code, ended.err) == (0, "")
    rows = {row["name"]: row for row in json.loads(ended.out)}
    assert rows["echo"]["status"] == "ok"
    assert rows["echo"]["executors"] == ["echo"]
    broken = rows["aged"]
    keys = {"name", "distribution", "version", "executors", "status", "reason"}
    assert broken.keys() == keys
    assert (broken["distribution"], broken["version"], broken["status"]) == (
        "aged",
        "0.9",
        "broken",
    )
    assert "RuntimeError" in broken["reason"]
    table = mwctl("plugins", "list", env=env)
    assert b"aged" in table.out
    assert b"\x1b" not in table.out


def test_no_command_shows_the_help() -> None:
    """`mwctl` alone shows what there is; on which stream and with which code is click's choice."""
    ended = mwctl()
    assert "Commands:" in ended.err + ended.out.decode()
