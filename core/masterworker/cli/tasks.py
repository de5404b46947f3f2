"""`mwctl tasks`: one task or many, wherever in their life they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ..roles.keyfile import load_keys
from ..words.login import Login
from ..words.model import FINISHED, State
from ..zookeeper.inspection import Inspection, TaskRow, TaskView
from .command import Group, hosts_option, key_file_option
from .login import login_options
from .logs import escape
from .output import (
    OutputPath,
    format_option,
    timestamp,
    write_bytes,
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
        "mwctl tasks result 8f14e45fceea167a-1 --output thumbnail.png",
    ],
)
def tasks() -> None:
    """Look at tasks.

    A task can be looked at from when it is accepted until its status is taken or has expired. A
    client that waits for a result, as `mwctl submit --wait` does, takes the status with it.
    """


@tasks.command(
    "list",
    examples=[
        "mwctl tasks list",
        "mwctl tasks list --state pending --limit 20",
        "mwctl tasks list --state failed -o jsonl | jq -r .id",
    ],
)
@hosts_option
@login_options
@click.option(
    "--state", type=click.Choice([str(state) for state in STATES]), help="Only these tasks."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many tasks to list at the most.",
)
@format_option
def list_tasks(hosts: str, login: Login, state: str | None, limit: int, form: str) -> None:
    """List tasks: the pending ones first, then those assigned, then those finished."""
    with reading(hosts, login) as session:
        rows = _of_state(Inspection(session), state, limit)
        write_rows(map(_table_row if form == "table" else _json_row, rows), COLUMNS, form)


def _of_state(inspection: Inspection, state: str | None, limit: int) -> Iterator[TaskRow]:
    if state is None:
        return inspection.tasks(limit)
    every = inspection.tasks(sys.maxsize)
    return islice((row for row in every if row.state == state), limit)


def _json_row(row: TaskRow) -> dict[str, Any]:
    return asdict(row) | {"worker": row.worker or None}


def _table_row(row: TaskRow) -> dict[str, Any]:
    return asdict(row) | {"submitted": timestamp(row.submitted)}


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
    """Show one task: where it is, why, and what became of its attempts.

    `why` says what a pending task waits for, and why a failed one failed. Exits with 6 if there is
    no such task, or none any more. With its key file, the evidence of an encrypted task is shown.
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


@tasks.command(
    "result",
    examples=[
        "mwctl tasks result 8f14e45fceea167a-1",
        "mwctl tasks result 8f14e45fceea167a-1 --output thumbnail.png",
    ],
)
@click.argument("task", metavar="ID")
@hosts_option
@login_options
@click.option(
    "--output",
    type=OutputPath(),
    metavar="FILE",
    help="Where to write the result.  [default: stdout]",
)
@key_file_option
def result(task: str, hosts: str, login: Login, output: Path | None, key_file: Path | None) -> None:
    """Write the exact bytes of a task's result, which stays where it is.

    Exits with 6 if there is no result, or none yet, and says which; with 3 if the task failed;
    with 77 if it is encrypted and the key is not given.
    """
    keys = load_keys(key_file) if key_file else None
    with reading(hosts, login) as session:
        data = Inspection(session, keys).result(task)
    try:
        write_bytes(data, output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(
            f"cannot write the result to {output or 'stdout'}: {error.strerror}"
        ) from error
