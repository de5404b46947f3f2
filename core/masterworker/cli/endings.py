"""`mwctl tasks wait` and `mwctl tasks result`: how tasks end, and what they leave.

Waiting costs one watch for each client's folder, however many tasks there are. Nothing is deleted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import click

from ..decisions import explain
from ..roles.courier import Courier
from ..roles.future import AttachedFuture
from ..roles.keyfile import load_keys
from ..words import paths, records, sealing
from ..words.errors import (
    BadRecord,
    MasterworkerError,
    NotFound,
    TaskFailed,
)
from ..words.login import Login
from ..words.model import State, Status
from ..zookeeper.inspection import Inspection
from ..zookeeper.session import CONNECT_TIMEOUT, DEFAULT_TIMEOUT
from .command import Command, Seconds, hosts_option, key_file_option
from .login import login_options
from .output import OutputPath, complain, format_option, make_folder, say, write_bytes, write_rows
from .reading import reading

TIMED_OUT: Final = 124
"""The exit code of a wait that timed out, as of timeout(1)."""

EXPLAINED: Final = 10
"""Tasks without a result that are explained one by one."""

CLOSE_SECONDS: Final = 2.0

COLUMNS: Final = ("id", "state", "executor", "worker", "why")


class Ending(AttachedFuture):
    """How a task ended. Its result is not kept, so many can be waited for."""

    status: Status | None = None

    def settle(self, data: bytes) -> bool:
        try:
            status = records.decode_status(data)
        except BadRecord as error:
            self.fail(error)
            return False
        history = status.history
        if status.sealed:
            history = sealing.conceal(history, status.sealed)
        self.status = status._replace(history=history)
        self.set_result(b"")
        return True

    def to_row(self) -> dict[str, Any]:
        """The task as `mwctl tasks wait` prints it; nothing but its id before it has ended."""
        status = self.status
        if status is None:
            error = self.exception() if self.done() else None
            nothing = {"state": None, "executor": None, "worker": None, "reason": None}
            return {"id": self.task_id, **nothing, "why": str(error or ""), "ended": None}
        return {
            "id": self.task_id,
            "state": status.state.value,
            "executor": status.executor,
            "worker": status.worker or None,
            "reason": None if status.reason is None else status.reason.value,
            "why": explain.finished(status),
            "ended": status.ended,
        }


def _ids(tasks: Sequence[str]) -> list[str]:
    """The ids that are given, those on stdin in place of `-`; each once."""
    every: list[str] = []
    for task in tasks:
        every += sys.stdin.read().split() if task == "-" else [task]
    return list(dict.fromkeys(every))


# --- wait ------------------------------------------------------------------------------------


@click.command(
    cls=Command,
    examples=[
        "mwctl tasks wait 8f14e45fceea167a-1 8f14e45fceea167a-2 --timeout 60",
        "mwctl submit --executor echo *.txt | mwctl tasks wait - -o jsonl",
        "mwctl tasks wait --any --for finished 8f14e45fceea167a-1 8f14e45fceea167a-2",
    ],
)
@click.argument("tasks", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["done", "failed", "finished"]),
    default="done",
    show_default=True,
    help="What to wait for; `finished` is either of the two.",
)
@click.option("--any", "any_task", is_flag=True, help="Wait for one of the tasks only.")
@click.option("--timeout", type=Seconds(), help="How long to wait.  [default: no limit]")
@format_option
@hosts_option
@login_options
@click.pass_context
def wait(
    ctx: click.Context,
    tasks: Sequence[str],
    wanted: str,
    any_task: bool,
    timeout: float | None,
    form: str,
    hosts: str,
    login: Login,
) -> None:
    """Wait until tasks have ended, and print how.

    `-` takes ids from stdin. Results and statuses stay where they are. Exits with 0 when what was
    waited for has come; with 3 if a task failed instead, with 1 if it is done and was to fail; with
    6 if there is no such task, or none any more; with 124 after --timeout.
    """
    endings = [Ending(paths.task_id(*paths.split_task(task)), None) for task in _ids(tasks)]
    courier = Courier(hosts, login, DEFAULT_TIMEOUT)
    courier.start(CONNECT_TIMEOUT)
    try:
        courier.attach(endings)
        in_time = _wait(endings, wanted, timeout, any_task=any_task)
        write_rows([one.to_row() for one in endings if one.done() or not any_task], COLUMNS, form)
        unfinished = [one.task_id for one in endings if not one.done()]
    finally:
        courier.close(CLOSE_SECONDS)
    if in_time:
        ctx.exit(_judge(endings, wanted, any_task=any_task))
    complain(f"{len(unfinished):,} of {len(endings):,} tasks have not ended within {timeout:g} s")
    _explain(unfinished[:EXPLAINED], hosts, login)
    ctx.exit(TIMED_OUT)


def _wait(endings: Sequence[Ending], wanted: str, timeout: float | None, *, any_task: bool) -> bool:
    """Wait for all of them, or until one is as wanted; whether that was within `timeout`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    ended: SimpleQueue[Any] = SimpleQueue()
    for one in endings:
        one.add_done_callback(ended.put)
    for _ in endings:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            one = ended.get(timeout=left)
        except Empty:
            return False
        error = one.exception()
        if error is not None and not isinstance(error, NotFound | BadRecord):
            raise error
        if any_task and _is(one, wanted):
            return True
    return True


def _is(one: Ending, wanted: str) -> bool:
    return one.status is not None and wanted in ("finished", one.status.state.value)


def _judge(endings: Sequence[Ending], wanted: str, *, any_task: bool) -> int:
    """The exit code, when all have ended or one is as wanted; stderr says what is not."""
    if any_task and any(_is(one, wanted) for one in endings):
        return 0
    codes = [0]
    for one in endings:
        error = one.exception() if one.done() else None
        if isinstance(error, MasterworkerError):
            complain(str(error))
            codes.append(error.exit_code)
        elif one.status is not None and not _is(one, wanted):
            failed = one.status.state is State.FAILED
            why = explain.finished(one.status) if failed else "it is done"
            complain(f"task {one.task_id}: {why}")
            codes.append(TaskFailed.exit_code if failed else 1)
    return max(codes)


def _explain(tasks: Sequence[str], hosts: str, login: Login) -> None:
    """Say what a few tasks wait for."""
    with reading(hosts, login) as session:
        inspection = Inspection(session)
        for task in tasks:
            try:
                view = inspection.task(task)
            except NotFound as error:
                say(str(error))
            else:
                say(f"task {task} is {view.state.value}: {view.why or 'it ended just now'}")


# --- result ----------------------------------------------------------------------------------


@click.command(
    cls=Command,
    examples=[
        "mwctl tasks result 8f14e45fceea167a-1",
        "mwctl tasks result 8f14e45fceea167a-1 --output thumbnail.png",
        "mwctl tasks list --state done --since 1h -o jsonl | jq -r .id \\",
        "    | mwctl tasks result - --output results",
    ],
)
@click.argument("tasks", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--output",
    type=OutputPath(dir_okay=True),
    metavar="FILE|FOLDER",
    help="Where to write the result, or of several a folder.  [default: stdout]",
)
@key_file_option
@hosts_option
@login_options
@click.pass_context
def result(
    ctx: click.Context,
    tasks: Sequence[str],
    output: Path | None,
    key_file: Path | None,
    hosts: str,
    login: Login,
) -> None:
    """Write the exact bytes of tasks' results, which stay where they are.

    `-` takes ids from stdin. Of several tasks, the results go to stdout one after another, or with
    --output each to a file in that folder, named by the task's id; the folder is made.

    Exits with 6 if there is no such task, or none any more; with 7 if it has not ended yet; with 3
    if it failed; with 77 if it is encrypted and the key is not given. Of several tasks, those that
    can be had are written, and the largest of the codes counts.
    """
    keys = load_keys(key_file) if key_file else None
    ids = _ids(tasks)
    if output is not None and len(ids) > 1:
        make_folder(output)
    codes = [0]
    with reading(hosts, login) as session:
        for task, found in Inspection(session, keys).results(ids):
            if isinstance(found, MasterworkerError):
                complain(str(found))
                codes.append(found.exit_code)
            else:
                codes.append(_write(task, found, output))
    ctx.exit(max(codes))


def _write(task: str, data: bytes, output: Path | None) -> int:
    place = output / task if output is not None and output.is_dir() else output
    try:
        write_bytes(data, place)
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"cannot write the result of task {task} to {place or 'stdout'}: {error.strerror}")
        return 1
    return 0
