"""The page on security, held against the code: the table, the commands, the files."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from masterworker import Credentials
from masterworker.cli import cli
from masterworker.dev.server import TLS_CONFIGURATION
from masterworker.roles.environment import KEY_PASSWORD, USER_PASSWORD
from masterworker.words.access import TABLE, letters, permissions
from tests.docs import pages

PAGE = pages.text(pages.DOCS / "security.md")


def test_the_table_is_that_of_the_code() -> None:
    """Who may do what stands there as the access lists have it, row by row."""
    shown = {
        row[0]: row[1:] for row in pages.rows(PAGE, "| Path | master | worker | client | owner |")
    }
    assert shown == {
        kind: [letters(permissions(granted)) for granted in grants]
        for kind, grants in TABLE.items()
    }


def test_the_server_is_configured_as_in_our_tests() -> None:
    """The lines for zoo.cfg are settings with which the tests run a server."""
    block = next(one for one in pages.blocks(PAGE, "ini") if "secureClientPort" in one)
    tested = dict(line.split("=", 1) for line in TLS_CONFIGURATION.splitlines())
    for line in block.splitlines():
        name, value = line.split("=", 1)
        assert name in tested
        assert "{" in tested[name] or tested[name] == value


def test_variables_exist() -> None:
    """Every variable is that of an option of a worker, or one of the two that hold secrets."""
    worker = cli.get_command(click.Context(cli), "worker")
    assert worker is not None
    options = {option.envvar for option in worker.params}
    used = set(re.findall(r"\bMWCTL_\w+", PAGE))
    assert {USER_PASSWORD, KEY_PASSWORD} < used <= options | {USER_PASSWORD, KEY_PASSWORD}


COMMANDS = [
    shlex.split(line)
    for block in pages.blocks(PAGE, "sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("mwctl ")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_are_understood(command: list[str]) -> None:
    """What the page has an operator type is parsed without complaint."""
    _, group, name, *arguments = command
    acl = cli.get_command(click.Context(cli), group)
    assert isinstance(acl, click.Group)
    found = acl.get_command(click.Context(acl), name)
    assert found is not None
    found.make_context(name, arguments).close()


def test_the_python_is_accepted() -> None:
    """The example's login can be made, and does not show its password."""
    (example,) = pages.blocks(PAGE, "python")
    namespace: dict[str, object] = {}
    exec(example.rpartition("client = ")[0], namespace)  # noqa: S102 - our own page
    login = str(namespace["login"])
    assert "alice" in login
    assert "openssl" not in login
    assert Credentials.parse("alice:what openssl printed").password == "what openssl printed"
