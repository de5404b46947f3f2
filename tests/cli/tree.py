"""The tree of `mwctl`'s commands, to hold what is promised of all of them against each."""

from __future__ import annotations

from collections.abc import Iterator

import click

from masterworker.cli import cli


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk(child, f"{path} {name}")


TREE = dict(_walk(cli, "mwctl"))
"""Every group and command, by what is typed to call it."""

COMMANDS = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}
"""The commands alone."""


def options(command: click.Command) -> list[click.Option]:
    """A command's options, without --help."""
    return [option for option in command.params if isinstance(option, click.Option)]
