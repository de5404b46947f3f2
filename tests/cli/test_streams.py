"""Standard streams that are closed or full: lost data is an error, and nothing crashes."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from masterworker.dev.processes import masterworker_command
from tests.cli.calling import OWN


def shell(redirections: str, *arguments: str) -> tuple[int, str, str]:
    """Call `mwctl` with redirections; its exit code, stdout and stderr."""
    command = f"{shlex.join(masterworker_command(*arguments))} {redirections}"
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, env=OWN, timeout=30, check=False, text=True
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("redirections", "why"),
    [
        (">&-", "Bad file descriptor"),
        (">/dev/full", "No space left on device"),
        ("<&- >&-", "Bad file descriptor"),
    ],
)
def test_data_that_cannot_be_written_is_an_error(redirections: str, why: str) -> None:
    """One line says why, and the exit code is 1."""
    code, out, err = shell(redirections, "plugins", "list", "-o", "json")
    assert (code, out) == (1, "")
    assert err == f"mwctl: error: cannot write to stdout: {why}\n"


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_messages_that_cannot_be_written_change_nothing(redirections: str) -> None:
    """Data and exit codes are the same, whether stderr takes what is said or not."""
    assert shell(redirections, "--version") == (0, "mwctl, version 0.1.0\n", "")
    assert shell(redirections, "tasks", "shwo") == (2, "", "")


@pytest.mark.parametrize("streams", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_without_any_stream_the_exit_code_is_left(streams: str) -> None:
    """Nothing crashes, and Python's own exit code for such streams is not seen."""
    assert shell(streams, "plugins", "list") == (1, "", "")


HELD = """
import os, sys
from masterworker.cli import streams
streams.hold()
opened = os.open("/dev/null", os.O_RDWR)
sys.exit(opened <= 2)
"""


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_nothing_else_gets_the_number_of_a_closed_stream(streams: str) -> None:
    """A connection to ZooKeeper cannot become stdout."""
    program = shlex.join([masterworker_command()[0], "-c", HELD])
    assert subprocess.run(["sh", "-c", f"{program} {streams}"], check=False).returncode == 0
