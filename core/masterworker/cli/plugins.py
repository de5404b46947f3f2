"""`mwctl plugins`: the plugins installed in this environment. ZooKeeper is not needed."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..execution.plugins import Plugins
from .command import Group
from .output import format_option, write_rows

COLUMNS = ("name", "distribution", "version", "executors", "status", "reason")


@click.group(cls=Group, examples=["mwctl plugins list"])
def plugins() -> None:
    """List installed plugins."""


@plugins.command("list", examples=["mwctl plugins list", "mwctl plugins list -o json"])
@format_option
def list_plugins(form: str) -> None:
    """List the plugins in this environment and their executors.

    The status is `ok`, `broken` (the plugin cannot be loaded) or `conflict` (another plugin has the
    same name). The reason explains how to fix the problem.
    """
    write_rows((asdict(record) for record in Plugins.probe().records), COLUMNS, form)
