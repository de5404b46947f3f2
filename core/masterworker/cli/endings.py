"""`mwctl tasks wait` and `mwctl tasks result`: the outcome of tasks, and their results.

Waiting needs one watch per client folder, whatever the number of tasks. Nothing is deleted.
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
from .output import (
    OutputPath,
    complain,
    format_option,
    make_folder,
    say,
    unless_stdout,
    write_bytes,
    write_rows,
)
from .reading import reading

TIMED_OUT: Final = 124
"""The exit code of a wait that timed out, as for timeout(1)."""

EXPLAINED: Final = 10
"""Maximum number of unfinished tasks that are explained individually."""

CLOSE_SECONDS: Final = 2.0

COLUMNS: Final = ("id", "state", "executor", "worker", "why")


class Ending(AttachedFuture):
    """The outcome of a task, without its result, so that waiting for many tasks is cheap."""

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
        """The task as `mwctl tasks wait` prints it. Only the id is set before the task finishes."""
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
    """The ids given, without duplicates. `-` stands for the ids on stdin."""
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
    help="State to wait for. `finished` means done or failed.",
)
@click.option(
    "--any", "any_task", is_flag=True, help="Return as soon as one task reaches the state."
)
@click.option("--timeout", type=Seconds(), help="Maximum time to wait.  [default: no limit]")
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
    """Wait until tasks finish, and print their outcomes.

    `-` reads ids from stdin. Results and statuses stay in ZooKeeper.

    Exit codes: 0 if the tasks reached the state given by --for; 3 if a task failed instead; 1 if a
    task is done with --for failed; 6 if a task does not exist or no longer exists; 124 if --timeout
    expired.
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
    complain(f"{len(unfinished):,} of {len(endings):,} tasks did not finish within {timeout:g} s")
    _explain(unfinished[:EXPLAINED], hosts, login)
    ctx.exit(TIMED_OUT)


def _wait(endings: Sequence[Ending], wanted: str, timeout: float | None, *, any_task: bool) -> bool:
    """Wait for all tasks, or with `any_task` for one. Returns False after `timeout` seconds."""
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
    """The exit code after the wait. Tasks that did not reach the state are named on stderr."""
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
            why = explain.finished(one.status) if failed else "it is done, and has not failed"
            complain(f"task {one.task_id}: {why}")
            codes.append(TaskFailed.exit_code if failed else 1)
    return max(codes)


def _explain(tasks: Sequence[str], hosts: str, login: Login) -> None:
    """Print why a few tasks have not finished."""
    with reading(hosts, login) as session:
        inspection = Inspection(session)
        for task in tasks:
            try:
                view = inspection.task(task)
            except NotFound as error:
                say(str(error))
            else:
                say(f"task {task} is {view.state.value}: {view.why or 'it finished just now'}")


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
    help="File for the result, or folder for the results of several tasks.  [default: stdout]",
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
    """Write the results of tasks, byte for byte.

    `-` reads ids from stdin. The results stay in ZooKeeper. With several tasks, the results go to
    stdout one after another. With --output, each goes to a file in that folder, named after the
    task's id. The folder is created if necessary.

    Exit codes: 6 if a task does not exist or no longer exists; 7 if it has not finished; 3 if it
    failed; 77 if it is encrypted and its key is missing. With several tasks, all available results
    are written, and the exit code is the largest one.
    """
    keys = load_keys(key_file) if key_file else None
    ids = _ids(tasks)
    output = unless_stdout(output)
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
