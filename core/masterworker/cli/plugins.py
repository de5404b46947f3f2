"""`mwctl plugins`: what this environment has to offer. Nothing here needs ZooKeeper."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..execution.plugins import Plugins
from .command import Group
from .output import format_option, write_rows

COLUMNS = ("name", "distribution", "version", "executors", "status", "reason")


@click.group(cls=Group, examples=["mwctl plugins list"])
def plugins() -> None:
    """Show the installed plugins."""


@plugins.command("list", examples=["mwctl plugins list", "mwctl plugins list -o json"])
@format_option
def list_plugins(form: str) -> None:
    """List the plugins in this environment and their executors.

    A plugin that cannot be loaded is `broken`, and one that shares a name with another plugin is in
    `conflict`. The reason says what to do.
    """
    write_rows((asdict(record) for record in Plugins.probe().records), COLUMNS, form)
