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
    """Look at the installed plugins."""


@plugins.command("list", examples=["mwctl plugins list", "mwctl plugins list -o json"])
@format_option
def list_plugins(form: str) -> None:
    """List the plugins of this environment and the executors they bring.

    A plugin that could not be loaded is `broken`, one that shares a name with another is in
    `conflict`; the reason says what to do about it.
    """
    write_rows((asdict(record) for record in Plugins.probe().records), COLUMNS, form)
