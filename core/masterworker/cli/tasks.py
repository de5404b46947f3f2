"""`mwctl tasks`: list, show and wait for tasks in any state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..roles.keyfile import load_keys
from ..words.login import Login
from ..words.model import FINISHED, State
from ..zookeeper.inspection import Inspection
from ..zookeeper.tasklist import FOR_EVER, SINCE_EVER, Wanted
from ..zookeeper.views import TaskRow, TaskView
from .command import FilterOption, Group, hosts_option, key_file_option
from .endings import result, wait
from .login import login_options
from .logs import escape
from .moments import Moment
from .output import (
    format_option,
    say,
    timestamp,
    write_document,
    write_rows,
)
from .reading import reading

STATES = (State.PENDING, State.ASSIGNED, *FINISHED)
COLUMNS = ("id", "state", "executor", "worker", "attempts", "submitted")


@click.group(
    cls=Group,
    examples=[
        "mwctl tasks list --state failed",
        "mwctl tasks show 8f14e45fceea167a-1",
        "mwctl tasks wait 8f14e45fceea167a-1 --timeout 60",
        "mwctl tasks result 8f14e45fceea167a-1 --output thumbnail.png",
    ],
)
def tasks() -> None:
    """List, show and wait for tasks.

    A task is visible from its acceptance until its status is taken or expires. A client that waits
    for a result, such as `mwctl submit --wait`, takes the status.
    """


@tasks.command(
    "list",
    examples=[
        "mwctl tasks list",
        "mwctl tasks list --state failed --executor thumbnail --since 1h",
        "mwctl tasks list --state failed --limit 0 -o jsonl | jq -r .id",
    ],
)
@click.option(
    "--state",
    "states",
    cls=FilterOption,
    type=click.Choice([str(state) for state in STATES]),
    multiple=True,
    help="Only tasks in this state. Repeatable.",
)
@click.option(
    "--executor",
    "executors",
    cls=FilterOption,
    multiple=True,
    metavar="NAME",
    help="Only tasks for this executor. Repeatable.",
)
@click.option(
    "--worker",
    "workers",
    cls=FilterOption,
    multiple=True,
    metavar="ID",
    help="Only tasks that this worker has or has finished. Repeatable.",
)
@click.option(
    "--client",
    "clients",
    cls=FilterOption,
    multiple=True,
    metavar="ID",
    help="Only tasks of this client. ID is the part of a task's id before the hyphen. Repeatable.",
)
@click.option(
    "--since",
    cls=FilterOption,
    type=Moment(),
    default=None,
    metavar="WHEN",
    help="Only tasks submitted since then. WHEN is an age (30s, 15m, 1h, 2d) or an ISO 8601 time.",
)
@click.option(
    "--until",
    cls=FilterOption,
    type=Moment(),
    default=None,
    metavar="WHEN",
    help="Only tasks submitted before then. WHEN is as for --since.",
)
@click.option(
    "--limit",
    cls=FilterOption,
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Maximum number of tasks to list, the newest ones. 0 means all.",
)
@format_option
@hosts_option
@login_options
def list_tasks(
    hosts: str,
    login: Login,
    states: Sequence[str],
    executors: Sequence[str],
    workers: Sequence[str],
    clients: Sequence[str],
    since: float | None,
    until: float | None,
    limit: int,
    form: str,
) -> None:
    """List tasks in order of submission, newest last.

    If more than --limit tasks match, the newest ones are listed, and stderr shows the total number.
    """
    wanted = Wanted(
        frozenset(map(State, states)),
        executors,
        workers,
        clients,
        SINCE_EVER if since is None else since,
        FOR_EVER if until is None else until,
    )
    with reading(hosts, login) as session:
        found = Inspection(session).tasks(wanted, limit or None)
    write_rows(map(_table_row if form == "table" else _json_row, found.rows()), COLUMNS, form)
    if limit and found.matching > limit:
        say(f"showing the newest {limit:,} of {found.matching:,} tasks; use --limit 0 to list all")


def _json_row(row: TaskRow) -> dict[str, Any]:
    return row._asdict() | {"worker": row.worker or None}


def _table_row(row: TaskRow) -> dict[str, Any]:
    return row._asdict() | {"submitted": timestamp(row.submitted)}


@tasks.command(
    "show",
    examples=[
        "mwctl tasks show 8f14e45fceea167a-1",
        "mwctl tasks show 8f14e45fceea167a-1 -o json | jq -r .why",
    ],
)
@click.argument("task", metavar="ID")
@hosts_option
@login_options
@key_file_option
@format_option
def show(task: str, hosts: str, login: Login, key_file: Path | None, form: str) -> None:
    """Show a task: its state, the reason, and its attempts.

    `why` explains what a pending task is waiting for, or why a task failed. To show the evidence of
    an encrypted task, give its key file. The exit code is 6 if the task does not exist or no longer
    exists.
    """
    keys = load_keys(key_file) if key_file else None
    with reading(hosts, login) as session:
        view = Inspection(session, keys).task(task)
    if form == "table":
        _show(view)
    else:
        write_document(view.to_dict(), form)


def _show(view: TaskView) -> None:
    facts = {
        "id": view.id,
        "state": view.state.value,
        "executor": view.executor,
        "worker": view.worker,
        "submitted": timestamp(view.submitted),
        "started": timestamp(view.started),
        "ended": timestamp(view.ended),
        "sealed": f"with key {view.sealed}" if view.sealed else "",
        "why": view.why,
    }
    for name, value in facts.items():
        click.echo(f"{name + ':':<12}{escape(value) or '-'}")
    for number, attempt in enumerate(view.history, start=1):
        when = f" at {timestamp(attempt.ended)}" if attempt.ended else ""
        click.echo(f"attempt {number}: {attempt.reason} on worker {escape(attempt.worker)}{when}")
        for line in attempt.detail.splitlines():
            click.echo(f"    {escape(line)}")


tasks.add_command(wait)
tasks.add_command(result)
