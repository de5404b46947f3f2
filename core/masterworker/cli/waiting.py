"""Waiting for the results of submitted tasks, and writing each wherever it belongs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, TypeVar

import click

from ..roles.client import Client
from ..roles.future import TaskFuture
from ..words.errors import MasterworkerError, TaskCancelled, TaskFailed
from .output import complain, say, write_bytes

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds without any result after which it is worth asking whether there is a worker at all."""

LISTED: Final = 10
"""Unfinished tasks named one by one when a wait ends before them."""

TIMED_OUT: Final = 124
"""The exit code of a wait that timed out, as of timeout(1)."""


class Wait:
    """Waiting for results and writing them, in the order of the payloads.

    Every result that arrives is written, whatever becomes of the others, and acknowledged only
    then: one that could not be written can be had by `mwctl tasks result`. `timeout` is in seconds,
    for all of them together.
    """

    def __init__(
        self,
        client: Client,
        futures: Sequence[TaskFuture],
        output: Path | None,
        timeout: float | None,
    ) -> None:
        self._client = client
        self._futures = futures
        self._output = output
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failures: list[MasterworkerError] = []
        self._unwritten: list[TaskFuture] = []
        self._unfinished: list[TaskFuture] = []
        self._begun = 0
        """How many futures were dealt with."""

    def run(self, on_silence: Callable[[], None]) -> int:
        """Wait, write, and return the exit code; what went wrong is said on stderr.

        `on_silence` is called if no result comes for a while: it may tell why.
        """
        try:
            wait_for(self._futures, min(PATIENCE, self._left(PATIENCE)), FIRST_COMPLETED)
            if not any(future.done() for future in self._futures):
                on_silence()
            with self._shown() as futures:
                for future in futures:
                    self._finish(future)
        except KeyboardInterrupt:
            _say_where(self._futures[self._begun :])
            raise
        for error in self._failures:
            complain(str(error))
        _say_where(self._unwritten)
        if self._unfinished:
            complain(
                f"no result within {self._timeout:g} s of {len(self._unfinished)} of "
                f"{len(self._futures)} tasks"
            )
            _say_where(self._unfinished)
            return TIMED_OUT
        codes = [error.exit_code for error in self._failures] + [1 for _ in self._unwritten]
        return max(codes, default=0)

    def _shown(self) -> AbstractContextManager[Iterable[TaskFuture]]:
        """The futures, with a progress bar if it has a place where it does no harm."""
        visible = sys.stderr.isatty() and (self._output or not sys.stdout.isatty())
        if len(self._futures) == 1 or not visible:
            return nullcontext(self._futures)
        return click.progressbar(self._futures, label="results", file=sys.stderr)

    def _finish(self, future: TaskFuture) -> None:
        try:
            result = future.result(self._left(None))
        except TimeoutError:
            self._unfinished.append(future)
        except MasterworkerError as error:
            self._failures.append(error)
            if isinstance(error, TaskFailed | TaskCancelled):  # else its status is worth a look
                self._client.acknowledge(future)
        else:
            self._write(future, result)
        self._begun += 1

    def _write(self, future: TaskFuture, result: bytes) -> None:
        try:
            write_bytes(result, self._place(future))
        except BrokenPipeError:
            raise
        except (OSError, click.FileError) as error:
            complain(f"cannot write the result of task {future.task_id}: {error}")
            self._unwritten.append(future)
        else:
            self._client.acknowledge(future)

    def _place(self, future: TaskFuture) -> Path | None:
        if self._output is not None and self._output.is_dir():
            return self._output / future.task_id
        return self._output

    def _left(self, without_limit: T) -> float | T:
        if self._deadline is None:
            return without_limit
        return max(0.0, self._deadline - time.monotonic())


def _say_where(futures: Sequence[TaskFuture]) -> None:
    """How to get at results that were not written."""
    for future in futures[:LISTED]:
        what = "its result is kept" if future.done() else "the task still runs"
        say(f"{what}: mwctl tasks result {future.task_id}")
    if len(futures) > LISTED:
        say(f"and {len(futures) - LISTED:,} more")
