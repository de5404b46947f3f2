"""`mwctl submit`: payloads in, task ids or results out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click

from ..roles.client import Client
from ..roles.future import TaskFuture
from ..roles.keyfile import load_keys
from ..words import limits
from ..words.book import EXECUTOR as DEFAULT_EXECUTOR
from ..words.errors import MasterworkerError, PayloadTooLarge, TaskCancelled, TaskFailed
from ..words.login import Login
from ..zookeeper.inspection import Inspection
from .command import Command, Seconds, hosts_option, key_file_option
from .login import login_options
from .output import OutputPath, format_option, warn, write_rows
from .reading import reading
from .waiting import Wait

log = logging.getLogger(__name__)

ACCEPTED_WITHIN: Final = 60.0
"""Seconds for all tasks to be accepted."""


def _read_options(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    options = dict(value.partition("=")[::2] for value in values)
    if not all("=" in value for value in values) or "" in options:
        raise click.BadParameter("expected KEY=VALUE", ctx, param)
    return options


@click.command(
    cls=Command,
    examples=[
        "mwctl submit --payload greeting.txt",
        "echo hello | mwctl submit --payload - --executor echo --wait",
        "mwctl submit --payload photo.jpg --executor thumbnail --option size=128 \\",
        "    --wait --output thumbnail.png --timeout 60",
        "mwctl submit --payload a.csv --payload b.csv --attempts 3 -o jsonl",
    ],
)
@hosts_option
@login_options
@click.option(
    "--payload",
    "files",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="A file whose bytes are the payload of a task, '-' for stdin; repeatable.",
)
@click.option(
    "--executor",
    default=DEFAULT_EXECUTOR,
    show_default=True,
    metavar="NAME",
    help="The executor that is to run the tasks.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    callback=_read_options,
    metavar="KEY=VALUE",
    help="An option for the executor; repeatable.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, limits.MAX_ATTEMPTS),
    metavar="N",
    help="How many attempts may fail before the task does.  [default: what the executor says]",
)
@click.option("--wait", is_flag=True, help="Wait for the results and write them.")
@click.option(
    "--output",
    type=OutputPath(dir_okay=True),
    metavar="FILE",
    help="With --wait: the file to write the result to; with several payloads a folder, made if "
    "missing, with a file named by each task's id.  [default: stdout, one after another]",
)
@click.option(
    "--timeout",
    type=Seconds(),
    help="With --wait: how long to wait for the results of tasks accepted.  [default: no limit]",
)
@key_file_option
@format_option
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    hosts: str,
    login: Login,
    files: tuple[Path, ...],
    executor: str,
    options: Mapping[str, str],
    attempts: int | None,
    wait: bool,
    output: Path | None,
    timeout: float | None,
    key_file: Path | None,
    form: str,
) -> None:
    """Submit tasks, and wait for their results if asked to.

    There is a task for each payload; their ids are printed once they are accepted. With --wait, the
    exact bytes of the results are written, and ids are printed only if the results go to files.
    Exits with 3 if a task failed, after all other results are written; with 124 if
    --timeout ran out: the tasks go on, and `mwctl tasks result ID` gives their results later.

    With --key-file, payloads, options and results are encrypted.
    """
    for name, given in (("--output", output), ("--timeout", timeout)):
        if given is not None and not wait:
            raise click.UsageError(f"{name} is for results: it needs --wait", ctx)
    payloads = _read_payloads(ctx, files)
    if output and len(files) > 1:
        _make_folder(ctx, output)
    key_id = load_keys(key_file).ids[0] if key_file else ""
    look_for_workers = partial(_warn_if_nobody_offers, executor, key_id, hosts, login)
    code = 0
    # What is not written here stays there.
    with Client(hosts, login=login, acknowledge=True, key_file=key_file) as client:
        futures = client.submit_many(
            payloads, executor=executor, attempts=attempts, options=options
        )
        client.flush(ACCEPTED_WITHIN)
        if output or not wait:
            _print_ids(futures, files, form)
        if wait:
            code = Wait(client, futures, output, timeout).run(look_for_workers)
    if not wait:
        look_for_workers()
    ctx.exit(code)


def _read_payloads(ctx: click.Context, files: Sequence[Path]) -> list[bytes]:
    if files.count(Path("-")) > 1:
        raise click.UsageError("stdin can be one payload only: --payload - stands twice", ctx)
    return [_read_payload(file) for file in files]


def _read_payload(file: Path) -> bytes:
    with click.open_file(str(file), "rb") as stream:
        payload: bytes = stream.read(limits.MAX_PAYLOAD + 1)
    if len(payload) > limits.MAX_PAYLOAD:
        raise PayloadTooLarge(
            f"the payload {file} is larger than the limit of {limits.MAX_PAYLOAD:,} bytes, and "
            "nothing was submitted: store the data elsewhere and submit its name"
        )
    return payload


def _make_folder(ctx: click.Context, output: Path) -> None:
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"--output {output} has to be a folder for the results of several payloads: "
            f"{error.strerror}",
            ctx,
        ) from error


def _print_ids(futures: Sequence[TaskFuture], files: Sequence[Path], form: str) -> None:
    """Print the ids of the tasks accepted. Raises why one was refused, if one was."""
    refused = [future for future in futures if _refusal(future)]
    rows = [
        {"id": future.task_id, "payload": str(file)}
        for future, file in zip(futures, files, strict=True)
        if future not in refused
    ]
    if form == "table":
        for row in rows:
            click.echo(row["id"])
    else:
        write_rows(rows, ["id", "payload"], form)
    sys.stdout.flush()
    for future in refused:
        future.result()


def _refusal(future: TaskFuture) -> bool:
    """Whether a task was not accepted; one that has failed or was cancelled was."""
    if not future.done():
        return False
    return not isinstance(future.exception(), TaskFailed | TaskCancelled | None)


def _warn_if_nobody_offers(executor: str, key_id: str, hosts: str, login: Login) -> None:
    """A task for an executor that no worker offers is accepted, and waits: say so."""
    key = f" with key {key_id!r}" if key_id else ""
    try:
        with reading(hosts, login) as session:
            offered = Inspection(session).offered(key_id)
    except MasterworkerError as error:
        log.info("cannot find out who offers %s: %s", executor, error)
        return
    if executor not in offered:
        warn(
            f"no worker offers executor {executor!r}{key} now; the task waits until one does "
            f"(`mwctl worker --executor {executor}{' --key-file FILE' if key_id else ''}`)"
        )
