"""`mwctl submit`: payloads in, task ids or results out."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from ..roles.client import Client
from ..roles.keyfile import load_keys
from ..words import limits
from ..words.book import EXECUTOR as DEFAULT_EXECUTOR
from ..words.errors import MasterworkerError, NotFound, TaskCancelled, TaskFailed
from ..words.login import Login
from ..zookeeper.inspection import Inspection
from .command import Command, Seconds, hosts_option, key_file_option
from .inputs import Inputs, Payload
from .login import login_options
from .naming import Names
from .output import OutputPath, complain, format_option, make_folder, say, warn, write_rows
from .progress import Progress
from .reading import reading
from .waiting import Outcome, Submitted, Wait, say_where

log = logging.getLogger(__name__)

ACCEPTED_WITHIN: Final = 60.0
"""Seconds for a batch of tasks to be accepted."""

IDS: Final = ("id", "payload")
OUTCOMES: Final = ("id", "payload", "state", "seconds", "output")


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
        "mwctl submit --executor echo greeting.txt --wait",
        "echo hello | mwctl submit --executor echo --payload - --wait",
        "mwctl submit --executor thumbnail --option size=128 *.jpg --wait --output small",
        "find . -name '*.csv' | mwctl submit --executor echo --from-file - -o jsonl",
        "seq 100 | mwctl submit --executor echo - --wait",
    ],
)
@click.argument("arguments", nargs=-1, metavar="[FILE]...", type=click.Path())
@click.option(
    "--executor",
    default=DEFAULT_EXECUTOR,
    show_default=True,
    metavar="NAME",
    help="The executor that runs the tasks.",
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
    "--payload",
    "payloads",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="The same as FILE, but '-' is all of stdin as one payload; repeatable.",
)
@click.option(
    "--from-file",
    "listing",
    type=click.Path(),
    metavar="LIST",
    help="A file that names the files, one a line; '-' for stdin.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, limits.MAX_ATTEMPTS),
    metavar="N",
    help="How many attempts may fail before the task does.  [default: set by the executor]",
)
@click.option("--wait", is_flag=True, help="Wait for the results and write them.")
@click.option(
    "--output",
    type=OutputPath(dir_okay=True),
    metavar="PATH",
    help="With --wait: a file for the result; for several tasks a folder, with a file for each, "
    "named after the payload's.  [default: stdout]",
)
@click.option(
    "--timeout",
    type=Seconds(),
    help="With --wait: how long to wait once tasks are accepted.  [default: no limit]",
)
@key_file_option
@format_option
@hosts_option
@login_options
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    hosts: str,
    login: Login,
    arguments: tuple[str, ...],
    payloads: tuple[str, ...],
    listing: str | None,
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

    Each FILE is the payload of a task; '-' makes a task of each line of stdin. The ids are printed
    once the tasks are accepted. With --wait, the results are written instead, to the byte, and with
    --output a row for each task tells what became of it. Exits with 3 if a task failed, and with
    124 if --timeout ran out: the tasks go on, and `mwctl tasks result ID` gives their results.
    """
    for name, given in (("--output", output), ("--timeout", timeout)):
        if given is not None and not wait:
            raise click.UsageError(f"{name} is for results: it needs --wait", ctx)
    if wait and output is None and form != "table":
        raise click.UsageError(
            f"-o {form} writes a row for each task to stdout: use --output for the results", ctx
        )
    inputs = Inputs(arguments, payloads, listing)
    place = None if output is None else _place(output, inputs)
    if ctx.get_parameter_source("executor") is ParameterSource.DEFAULT:
        say(
            f"no --executor given: {executor!r} takes the payload and returns nothing; use "
            "--executor echo to get it back"
        )
    key_id = load_keys(key_file).ids[0] if key_file else ""
    cluster = _Cluster(hosts, login, executor, key_id)
    submitter = _Submitter(executor, attempts, options)
    waiting: Wait | None = None
    progress = Progress(shown=bool(output) or not sys.stdout.isatty())
    try:
        # What is not written here stays there.
        with Client(hosts, login=login, acknowledge=True, key_file=key_file or "") as client:
            submitter.client = client
            if wait:
                rows = _Rows(form, shown=output is not None)
                waiting = Wait(client, place, timeout, rows.add, progress)
                try:
                    code = waiting.run(inputs, submitter, cluster.warn, cluster.explain)
                finally:
                    rows.write()
                code = max(code, rows.code)
            else:
                code = _submit_all(inputs, submitter, form, progress)
    except (KeyboardInterrupt, MasterworkerError) as error:
        progress.clear()
        if submitter.count or isinstance(error, KeyboardInterrupt):
            say_where([*(waiting.left if waiting else ()), *submitter.untold], inputs.left)
        raise
    if not submitter.count and not code:
        say("there was nothing to submit")
    elif not wait:
        cluster.warn()
    ctx.exit(code)


def _place(output: Path, inputs: Inputs) -> Path | Names:
    """Where the results go. Raises UsageError where they would replace the payloads."""
    if inputs.single and not output.is_dir():
        return output
    make_folder(output)
    for file in inputs.files:
        if file.parent.samefile(output):
            raise click.UsageError(
                f"--output {output} would replace the payload {file}: name another folder"
            )
    return Names(output)


class _Submitter:
    """Submits batches of payloads for one executor; called, it returns tasks that are accepted.

    `untold` are the tasks of which the user does not know, `count` is how many there were at all.
    """

    client: Client

    def __init__(self, executor: str, attempts: int | None, options: Mapping[str, str]) -> None:
        self._executor = executor
        self._attempts = attempts
        self._options = options
        self.untold: list[Submitted] = []
        self.count = 0

    def submit(self, batch: Sequence[Payload]) -> list[Submitted]:
        """Submit payloads. Raises Unavailable if they are not accepted in time."""
        since = time.monotonic()
        futures = self.client.submit_many(
            [payload.data for payload in batch],
            executor=self._executor,
            attempts=self._attempts,
            options=self._options,
        )
        submitted = [
            Submitted(payload.source.name, payload.source.file, future, since)
            for payload, future in zip(batch, futures, strict=True)
        ]
        self.untold += submitted
        self.count += len(submitted)
        self.client.flush(ACCEPTED_WITHIN)
        return submitted

    def __call__(self, batch: Sequence[Payload]) -> list[Submitted]:
        submitted = self.submit(batch)
        self.untold.clear()
        return submitted


def _submit_all(inputs: Inputs, submitter: _Submitter, form: str, progress: Progress) -> int:
    """Submit everything and print the ids. Raises why a task was refused, if one was."""
    code = 0
    rows: list[dict[str, Any]] = []
    for batch in inputs.batches():
        for payload in batch:
            if payload.error is not None:
                progress.clear()
                complain(f"{payload.source.name} was not submitted: {payload.error}")
                code = max(code, getattr(payload.error, "exit_code", 1))
        submitted = submitter.submit([payload for payload in batch if payload.error is None])
        refused = [one for one in submitted if _refusal(one)]
        accepted = [one for one in submitted if one not in refused]
        rows += [{"id": one.task, "payload": one.name} for one in accepted]
        if form != "json":
            if not _told(rows, form, submitter):
                say_where([], inputs.left)
                return 1
            rows = []
        progress.show(f"{submitter.count:,} submitted")
        for one in refused:
            one.future.result()
    progress.clear()
    if form == "json" and not _told(rows, form, submitter):
        return 1
    return code


def _told(rows: Sequence[Mapping[str, Any]], form: str, submitter: _Submitter) -> bool:
    """Print ids, on stderr if stdout does not take them; whether it did."""
    try:
        _print_ids(rows, form)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(f"cannot write to stdout: {error.strerror or error}")
        for one in submitter.untold:
            say(f"{one.label}task {one.task} was accepted")
        submitter.untold.clear()
        return False
    submitter.untold.clear()
    return True


def _print_ids(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    if form == "table":
        for row in rows:
            click.echo(row["id"])
    else:
        write_rows(rows, IDS, form)


def _refusal(one: Submitted) -> bool:
    """Whether a task was not accepted; one that has failed or was cancelled was."""
    if not one.future.done():
        return False
    return not isinstance(one.future.exception(), TaskFailed | TaskCancelled | None)


class _Rows:
    """The outcomes on stdout, if they are `shown` there: as they come, or together at the end.

    `code` is 1 if stdout did not take them.
    """

    def __init__(self, form: str, *, shown: bool) -> None:
        self._form = form
        self._shown = shown
        self._kept: list[dict[str, Any]] = []
        self.code = 0

    def add(self, outcome: Outcome) -> None:
        """Write an outcome, or keep it until `write`."""
        if self._shown and not self.code:
            self._kept.append(outcome.to_row())
            if self._form == "jsonl":
                self.write()

    def write(self) -> None:
        """Write what was kept."""
        rows, self._kept = self._kept, []
        if not self._shown or self.code or (self._form == "jsonl" and not rows):
            return
        try:
            write_rows(rows, OUTCOMES, self._form)
            sys.stdout.flush()
        except OSError as error:
            self.code = 1
            if not isinstance(error, BrokenPipeError):
                complain(f"cannot write to stdout: {error.strerror or error}")


class _Cluster:
    """What is worth knowing of the cluster to which tasks for `executor` are submitted."""

    def __init__(self, hosts: str, login: Login, executor: str, key_id: str) -> None:
        self._hosts = hosts
        self._login = login
        self._executor = executor
        self._key_id = key_id

    def warn(self) -> None:
        """Say so if tasks for the executor have to wait for a master or for a worker."""
        try:
            with reading(self._hosts, self._login) as session:
                obstacle = Inspection(session).obstacle(self._executor, self._key_id)
        except MasterworkerError as error:
            log.info("cannot find out who runs %s: %s", self._executor, error)
            return
        if obstacle:
            warn(f"the task waits: {obstacle}")

    def explain(self, tasks: Iterable[str]) -> dict[str, str]:
        """Why each of a few tasks has no result yet, as far as that can be found out."""
        why = {}
        try:
            with reading(self._hosts, self._login) as session:
                inspection = Inspection(session)
                for task in tasks:
                    with contextlib.suppress(NotFound):
                        why[task] = inspection.task(task).why
        except MasterworkerError as error:
            log.info("cannot find out why tasks have no result yet: %s", error)
        return why
