"""Help, versions and imports: what the command line costs and says before it does anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from masterworker import __version__
from masterworker.cli import main
from masterworker.cli.command import Command, FilterOption, Group
from masterworker.cli.sections import SharedOption
from tests.cli.calling import mwctl
from tests.cli.tree import COMMANDS, TREE, options
from tests.unit.throwaway_plugin import install

BROKEN = """
import subprocess
def broken(*_, **__): raise ZeroDivisionError("by \\x1b")
subprocess.Popen = broken
"""
"""Makes `mwctl plugins list` fail by a defect."""


def help_of(path: str) -> str:
    """The help of a command."""
    return TREE[path].get_help(click.Context(TREE[path], info_name=path))


def imported_by(*arguments: str) -> set[str]:
    """The modules that a call of `mwctl` has imported when it is done."""
    code = (
        "import sys; from masterworker.cli import main; main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    return set(subprocess.run(command, capture_output=True, check=True, text=True).stderr.split())


@pytest.mark.parametrize("path", TREE)
def test_help_has_examples(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's help ends with examples, which call that command."""
    assert main([*path.split()[1:], "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    _, _, examples = shown.out.partition("\nExamples:\n")
    assert re.search(rf"\b{path}\b", examples)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_a_variable(path: str) -> None:
    """MWCTL_ and the option's name, as the help says once; filters have none."""
    for option in options(COMMANDS[path]):
        [*_, long] = option.opts
        if isinstance(option, FilterOption):
            assert option.envvar is None
            continue
        assert option.envvar == "MWCTL" + long[1:].replace("-", "_").upper()
        assert not option.show_envvar
    shown = help_of(path)
    assert len(re.findall(r"environment\s+variable", shown)) == 1


def test_a_commands_own_options_come_first() -> None:
    """Then the connection and logging options, each in a section of its own."""
    shown = help_of("mwctl submit")
    sections = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert sections == ["Options", "Connection", "Logging", "Examples"]
    own, _, shared = shown.partition("\nConnection:")
    assert "--payload" in own
    assert "--hosts " not in own
    assert "--tls-ca" in shared


SHARED = {
    max(option.opts, key=len)
    for command in COMMANDS.values()
    for option in options(command)
    if isinstance(option, SharedOption)
}
"""The options of a section, by long name."""


@pytest.mark.parametrize("path", [path for path, one in TREE.items() if isinstance(one, Group)])
def test_shared_options_are_taken_before_the_command(path: str) -> None:
    """By `mwctl` itself and by each group, without filling their help."""
    hidden = {option.opts[0] for option in options(TREE[path]) if option.hidden}
    assert hidden == SHARED >= {"--hosts", "--credentials", "--tls-ca", "--log-level", "--debug"}
    assert "--tls-ca" not in help_of(path)


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["--hosts", "outer!", "status"], "outer!"),
        (["tasks", "--hosts=group!", "list"], "group!"),
        (["--hosts", "outer!", "tasks", "--hosts", "group!", "list"], "group!"),
        (["--hosts", "outer!", "tasks", "list", "--hosts", "inner!"], "inner!"),
    ],
)
def test_the_innermost_option_wins(
    arguments: list[str], hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands nearest to the command counts, and each wins over the variable."""
    seen: list[object] = []
    monkeypatch.setenv("MWCTL_HOSTS", "variable!")
    monkeypatch.setattr(Command, "invoke", lambda _self, ctx: seen.append(ctx.params["hosts"]))
    assert main(arguments) == 0
    assert seen == [hosts]


def test_flags_and_texts_before_a_command_keep_their_meaning(tmp_path: Path) -> None:
    """A command without a connection ignores --hosts; --debug has its effect."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    env = {"PYTHONPATH": str(tmp_path)}
    ended = mwctl("--hosts", "x", "--debug", "plugins", "list", env=env)
    assert "ZeroDivisionError" in ended.err
    assert "Traceback" in ended.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["sumbit"], "`mwctl submit`"),
        (["tasks", "shwo"], "`mwctl tasks show`"),
        (["result"], "`mwctl tasks result`"),
        (["task", "list"], "`mwctl tasks`"),
        (["--host", "x", "status"], "'--hosts'"),
        (["submit", "--excutor", "echo"], "'--executor'"),
    ],
)
def test_mistyped_words_are_answered_with_the_nearest(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command or an option that does not exist gives 2 and a suggestion."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Did you mean {meant}?" in err


def test_nonsense_is_answered_without_a_guess() -> None:
    """Nothing is suggested for a word that resembles no command."""
    ended = mwctl("frobnicate")
    assert ended.code == 2
    assert "no command 'frobnicate'" in ended.err
    assert "Did you mean" not in ended.err


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
    """A defect exits with 1; --debug shows where it is. Here, subprocess is broken."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
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
