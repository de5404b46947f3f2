"""`mwctl status` and `mwctl audit`: the current state of the whole cluster."""

from __future__ import annotations

import time
from typing import Any

import click

from ..words.login import Login
from ..zookeeper.auditor import Auditor
from ..zookeeper.inspection import Inspection
from .command import Command, hosts_option
from .login import login_options
from .logs import escape
from .moments import duration
from .output import format_option, table, write_document
from .reading import Needs, reading


@click.command(
    cls=Command,
    examples=["mwctl status", "mwctl status -o json --hosts zk1:2181/production"],
)
@hosts_option
@login_options
@format_option
def status(hosts: str, login: Login, form: str) -> None:
    """Show masters, workers and task counts.

    A finished task is counted until its status is taken or expires.
    """
    with reading(hosts, login) as session:
        document = Inspection(session).status().to_dict()
    if form == "table":
        _show_status(document)
    else:
        write_document(document, form)


def _show_status(document: dict[str, Any]) -> None:
    primary = document["primary"]
    tasks = ", ".join(f"{count:,} {state}" for state, count in document["tasks"].items())
    masters = [
        _common(master)
        | {"role": "primary" if primary and master["id"] == primary["id"] else "backup"}
        for master in document["masters"]
    ]
    workers = [_common(worker) | {"slots": _slots(worker)} for worker in document["workers"]]
    epoch = (
        f"{primary['id']}, epoch {primary['epoch']}" if primary else "none, no tasks are assigned"
    )
    _show(f"Primary: {epoch}", f"Tasks: {tasks}")
    _show("", *_section("Masters", masters, ["id", "host", "pid", "version", "up", "role"]))
    columns = ["id", "host", "pid", "version", "up", "state", "slots", "assigned", "executors"]
    _show("", *_section("Workers", workers, columns))
    for worker in workers:
        for executor, why in sorted(worker["unavailable"].items()):
            _show(f"  {worker['id']} cannot run {executor}: {escape(why)}")


def _common(role: dict[str, Any]) -> dict[str, Any]:
    """The columns that masters and workers share. Values that a record lacks are empty."""
    up = "" if role["started"] is None else duration(time.time() - role["started"])
    return role | {"up": up, "pid": role["pid"] or ""}


def _slots(worker: dict[str, Any]) -> str:
    """Used and total slots of a worker. Slots only for inline executors are shown separately."""
    slots, inline, assigned = worker["slots"], worker["inline_slots"], worker["assigned"]
    if not inline:
        return f"{assigned}/{slots}"
    if not slots:
        return f"{assigned}/{inline} inline"
    inline_assigned = worker["assigned_inline"]
    in_processes = "?" if inline_assigned is None else assigned - inline_assigned
    return f"{in_processes}/{slots} +{inline} inline"


def _section(title: str, rows: list[dict[str, Any]], columns: list[str]) -> list[str]:
    if not rows:
        return [f"{title}: none"]
    return [f"{title}:", *(f"  {line}" for line in table(rows, columns))]


@click.command(
    cls=Command,
    examples=["mwctl audit", "mwctl audit -o json | jq .findings"],
)
@hosts_option
@login_options
@format_option
@click.pass_context
def audit(ctx: click.Context, hosts: str, login: Login, form: str) -> None:
    """Check that no task was lost or recorded twice.

    Every accepted task must be pending, assigned or finished, or its status must have been taken or
    have expired. The audit also checks the znodes themselves. The exit code is 1 if it finds a
    problem. The audit is read-only and safe on a running cluster: tasks that move during the audit
    are not reported.
    """
    with reading(hosts, login, Needs.SOME) as session:  # a missing folder is a finding
        report = Auditor(session).report()
    if form == "table":
        _show_audit(report.to_dict())
    else:
        write_document(report.to_dict(), form)
    if not report.ok:
        ctx.exit(1)


def _show_audit(document: dict[str, Any]) -> None:
    words = ("ok", "findings", "notes")
    numbers = {key: value for key, value in document.items() if key not in words}
    width = max(map(len, numbers)) + 2
    _show(*(f"{key.replace('_', ' '):<{width}}{value:>12,}" for key, value in numbers.items()))
    _show("", "No problems found." if document["ok"] else "Problems found:")
    _show(*(f"  {escape(finding)}" for finding in document["findings"]))
    _show(*(f"Note: {escape(note)}." for note in document["notes"]))


def _show(*lines: str) -> None:
    for line in lines:
        click.echo(line)
