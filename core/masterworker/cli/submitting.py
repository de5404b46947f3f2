"""`mwctl submit`: submit payloads, and print task ids or results."""

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
from .output import (
    OutputPath,
    complain,
    format_option,
    make_folder,
    say,
    unless_stdout,
    warn,
    write_rows,
)
from .progress import Progress
from .reading import reading
from .waiting import Outcome, Submitted, Wait, in_short, say_where

log = logging.getLogger(__name__)

ACCEPTED_WITHIN: Final = 60.0
"""Maximum seconds for a batch of tasks to be accepted."""

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
    help="Executor that runs the tasks.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    callback=_read_options,
    metavar="KEY=VALUE",
    help="Option for the executor. Repeatable.",
)
@click.option(
    "--payload",
    "payloads",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="Same as the argument FILE, but '-' submits all of stdin as one payload. Repeatable.",
)
@click.option(
    "--from-file",
    "listing",
    type=click.Path(),
    metavar="LIST",
    help="File with the names of payload files, one per line, or '-' for stdin.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, limits.MAX_ATTEMPTS),
    metavar="N",
    help="Number of failed attempts after which a task fails.  [default: set by the executor]",
)
@click.option("--wait", is_flag=True, help="Wait for the results and write them.")
@click.option(
    "--output",
    type=OutputPath(dir_okay=True),
    metavar="PATH",
    help="With --wait: file for the result. For several tasks: folder for the results, which are "
    "named after the payload files.  [default: stdout]",
)
@click.option(
    "--timeout",
    type=Seconds(),
    help="With --wait: maximum time to wait after the first tasks are accepted.  "
    "[default: no limit]",
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
    """Submit tasks, and optionally wait for their results.

    Submits one task per FILE. '-' submits one task per line of stdin. Prints the task ids after the
    tasks are accepted. With --wait, writes the exact bytes of the results instead. With --wait and
    --output, prints one row per task with its outcome.

    Exit codes with --wait: 3 if a task failed; 124 if --timeout expired. After a timeout, tasks
    continue to run. To get their results, use `mwctl tasks result ID`.
    """
    for name, given in (("--output", output), ("--timeout", timeout)):
        if given is not None and not wait:
            raise click.UsageError(f"{name} needs --wait", ctx)
    output = unless_stdout(output)
    if wait and output is None and form != "table":
        raise click.UsageError(
            f"-o {form} with --wait needs --output to a file or folder: the rows and the results "
            "cannot both go to stdout",
            ctx,
        )
    inputs = Inputs(arguments, payloads, listing)
    place = None if output is None else _place(output, inputs)
    if ctx.get_parameter_source("executor") is ParameterSource.DEFAULT:
        say(
            f"no --executor given, using {executor!r}, which returns an empty result. To get the "
            "payload back, use --executor echo"
        )
    key_id = load_keys(key_file).ids[0] if key_file else ""
    cluster = _Cluster(hosts, login, executor, key_id)
    submitter = _Submitter(executor, attempts, options)
    waiting: Wait | None = None
    progress = Progress(shown=bool(output) or not sys.stdout.isatty())
    try:
        # With acknowledge=True, results that are not written stay in ZooKeeper.
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
            _say_what_is_left(error, waiting.left if waiting else [], submitter, inputs)
        raise
    if not submitter.count and not code:
        say("nothing to submit: the input is empty")
    elif not wait:
        cluster.warn()
    ctx.exit(code)


def _place(output: Path, inputs: Inputs) -> Path | Names:
    """Where the results go. Raises UsageError if they would overwrite the payloads."""
    if inputs.single and not output.is_dir():
        return output
    make_folder(output)
    for file in inputs.files:
        if file.parent.samefile(output):
            raise click.UsageError(
                f"--output {output} contains the payload {file}, which a result could overwrite: "
                "use another folder"
            )
    return Names(output)


class _Submitter:
    """Submits batches of payloads for one executor. Calling it returns accepted tasks.

    `untold` are the tasks not reported to the user yet, `count` is the number of all tasks.
    `interrupted` are the names of the payloads whose submission raised: none of them was submitted,
    unless it was Ctrl-C, which can come at any point.
    """

    client: Client

    def __init__(self, executor: str, attempts: int | None, options: Mapping[str, str]) -> None:
        self._executor = executor
        self._attempts = attempts
        self._options = options
        self.untold: list[Submitted] = []
        self.interrupted: list[str] = []
        self.count = 0

    def submit(self, batch: Sequence[Payload]) -> list[Submitted]:
        """Submit payloads. Raises Unavailable if they are not accepted in time."""
        since = time.monotonic()
        self.interrupted = [payload.source.name for payload in batch]
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
        self.interrupted = []
        self.count += len(submitted)
        self.client.flush(ACCEPTED_WITHIN)
        return submitted

    def __call__(self, batch: Sequence[Payload]) -> list[Submitted]:
        submitted = self.submit(batch)
        self.untold.clear()
        return submitted


def _say_what_is_left(
    error: BaseException, unfinished: Sequence[Submitted], submitter: _Submitter, inputs: Inputs
) -> None:
    """Report the tasks and the payloads of a submission that this error ended."""
    batch = submitter.interrupted
    if batch and isinstance(error, KeyboardInterrupt):
        say(f"possibly not submitted: {in_short(batch)}")
        batch = []
    say_where([*unfinished, *submitter.untold], [*batch, *inputs.left])


def _submit_all(inputs: Inputs, submitter: _Submitter, form: str, progress: Progress) -> int:
    """Submit everything, up to a batch with a refused task, and print the ids."""
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
        submitter.untold = [one for one in submitter.untold if one not in refused]
        rows += [{"id": one.task, "payload": one.name} for one in accepted]
        if form != "json":
            if not _told(rows, form, submitter):
                say_where([], inputs.left)
                return 1
            rows = []
        if refused:
            progress.clear()
            for one in refused:
                error = one.future.exception()
                complain(f"{one.label}{error}")
                code = max(code, getattr(error, "exit_code", 1))
            say_where([], inputs.left)
            break
        progress.show(f"{submitter.count:,} submitted")
    progress.clear()
    if form == "json" and not _told(rows, form, submitter):
        return 1
    return code


def _told(rows: Sequence[Mapping[str, Any]], form: str, submitter: _Submitter) -> bool:
    """Print ids, and return whether stdout accepted them. If not, they go to stderr."""
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
    """Whether a task was not accepted. A task that failed or was cancelled was accepted."""
    if not one.future.done():
        return False
    return not isinstance(one.future.exception(), TaskFailed | TaskCancelled | None)


class _Rows:
    """Prints outcomes on stdout if `shown`, immediately for `jsonl`, otherwise at the end.

    `code` is 1 if stdout could not be written.
    """

    def __init__(self, form: str, *, shown: bool) -> None:
        self._form = form
        self._shown = shown
        self._kept: list[dict[str, Any]] = []
        self.code = 0

    def add(self, outcome: Outcome) -> None:
        """Write an outcome now, or keep it until `write`."""
        if self._shown and not self.code:
            self._kept.append(outcome.to_row())
            if self._form == "jsonl":
                self.write()

    def write(self) -> None:
        """Write the outcomes that were kept."""
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
    """Explains why tasks for `executor` have to wait, from the state of the cluster."""

    def __init__(self, hosts: str, login: Login, executor: str, key_id: str) -> None:
        self._hosts = hosts
        self._login = login
        self._executor = executor
        self._key_id = key_id

    def warn(self) -> None:
        """Print a warning if tasks for the executor have to wait for a master or a worker."""
        try:
            with reading(self._hosts, self._login) as session:
                obstacle = Inspection(session).obstacle(self._executor, self._key_id)
        except MasterworkerError as error:
            log.info("cannot check whether a worker offers %s: %s", self._executor, error)
            return
        if obstacle:
            warn(f"the task is waiting: {obstacle}")

    def explain(self, tasks: Iterable[str]) -> dict[str, str]:
        """Why each of a few tasks has no result yet, if that can be determined."""
        why = {}
        try:
            with reading(self._hosts, self._login) as session:
                inspection = Inspection(session)
                for task in tasks:
                    with contextlib.suppress(NotFound):
                        why[task] = inspection.task(task).why
        except MasterworkerError as error:
            log.info("cannot determine why tasks have no result yet: %s", error)
        return why
