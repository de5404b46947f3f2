"""Waiting for the results of submitted tasks, and writing each where it belongs.

Tasks are submitted while results are written, so that a bounded number of them is under way, and
their results in memory. A result is acknowledged once it is safely written, and not before: until
then `mwctl tasks result` has it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from ..roles.client import Client
from ..roles.future import TaskFuture
from ..words.errors import ClientClosed, MasterworkerError, TaskCancelled, TaskFailed
from .inputs import BATCH_COUNT, Inputs, Payload
from .naming import Names
from .output import complain, say, write_bytes
from .progress import Progress

WINDOW: Final = 1_000
"""Tasks under way at a time."""

PATIENCE: Final = 1.0
"""Seconds without any result after which it is worth asking whether there is a worker at all."""

LISTED: Final = 10
"""Tasks named one by one when a wait ends before them."""

TIMED_OUT: Final = 124
"""The exit code of a wait that timed out, as of timeout(1)."""

NOT_SUBMITTED: Final = "not submitted"
UNFINISHED: Final = "unfinished"
UNWRITTEN: Final = "unwritten"
STATES: Final = ("done", "failed", "cancelled", "unknown", UNWRITTEN, UNFINISHED, NOT_SUBMITTED)
"""What can become of a payload, in the order in which it is told."""


@dataclass(slots=True, eq=False)
class Submitted:
    """A task that was submitted: its payload's name, its future, and when it was, for a clock."""

    name: str
    file: Path | None
    future: TaskFuture
    since: float
    ended: float | None = None

    @property
    def task(self) -> str:
        """Its id."""
        return self.future.task_id

    @property
    def label(self) -> str:
        """What to put before a message about it: which file or line it is."""
        return "" if self.name == "-" else f"{self.name}: "


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one payload; `seconds` from its submission to its result."""

    payload: str
    state: str
    task: str | None = None
    reason: str | None = None
    why: str = ""
    output: Path | None = None
    seconds: float | None = None

    def to_row(self) -> dict[str, Any]:
        """The outcome as `mwctl submit --wait -o json` prints it."""
        return {
            "id": self.task,
            "payload": self.payload,
            "state": self.state,
            "reason": self.reason,
            "why": self.why,
            "output": None if self.output is None else str(self.output),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


class Wait:
    """Submits payloads, waits for their results, and writes them.

    `output` is a file or names in a folder; with None the results go to stdout, in the order of the
    payloads. `timeout` is in seconds, for all of them, from when the first are accepted. `tell` is
    called with each outcome.
    """

    def __init__(
        self,
        client: Client,
        output: Path | Names | None,
        timeout: float | None,
        tell: Callable[[Outcome], None],
        progress: Progress,
    ) -> None:
        self._client = client
        self._output = output
        self._timeout = timeout
        self._deadline: float | None = None
        self._tell = tell
        self._progress = progress
        self._ended: SimpleQueue[Submitted] = SimpleQueue()
        self._open: dict[Submitted, None] = {}
        """The tasks whose results are not written yet, oldest first."""
        self._counts: Counter[str] = Counter()
        self._code = 0
        self._first = True
        self._ask_at: float | None = None
        """When to ask whether there is a worker; None if results come, or it was asked."""
        # Readable when a task has ended. Never closed: the client's thread may write at any time.
        self._wake = os.pipe()
        for descriptor in self._wake:
            os.set_blocking(descriptor, False)

    def run(
        self,
        inputs: Inputs,
        submit: Callable[[list[Payload]], list[Submitted]],
        on_silence: Callable[[], None],
        explain: Callable[[Iterable[str]], dict[str, str]],
    ) -> int:
        """Do it all, and return the exit code; what went wrong is said on stderr.

        `explain` says why tasks have no result yet; `on_silence` is called if no result comes for a
        while, and may tell why.
        """
        try:
            self._work(inputs.batches(self._wake[0], self._patience), submit, on_silence)
        except _StdoutLost as error:
            if not isinstance(error.__cause__, BrokenPipeError):
                self._complain(f"cannot write to stdout: {error}")
            self._code = max(self._code, 1)
        self._leave(explain, inputs.left)
        self._progress.clear()
        if self._counts.total() > 1:
            counts = (f"{self._counts[state]:,} {state}" for state in STATES if self._counts[state])
            say(", ".join(counts))
        return self._code

    @property
    def left(self) -> list[Submitted]:
        """The tasks whose results were not written."""
        return list(self._open)

    # --- the loop ----------------------------------------------------------------------------

    def _work(
        self,
        batches: Iterator[list[Payload]],
        submit: Callable[[list[Payload]], list[Submitted]],
        on_silence: Callable[[], None],
    ) -> None:
        more = True
        while more or self._open:
            if more and len(self._open) + BATCH_COUNT <= WINDOW:
                batch = next(batches, None)
                more = batch is not None
                self._begin(submit(self._sound(batch or [])))
                self._take_in(0.0)
            else:
                self._take_in(self._patience())
            if self._late:
                return
            if self._ask_at is not None and time.monotonic() >= self._ask_at:
                self._ask_at = None
                self._progress.clear()
                on_silence()
            self._progress.show(self._so_far())

    def _patience(self) -> float | None:
        """Seconds until something is to be done even if nothing comes; None: any time."""
        until = [moment for moment in (self._ask_at, self._deadline) if moment is not None]
        return max(0.0, min(until) - time.monotonic()) if until else None

    def _so_far(self) -> str:
        counts = [f"{count:,} {state}" for state, count in self._counts.items()]
        return ", ".join([f"{len(self._open):,} under way", *counts])

    @property
    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _begin(self, submitted: list[Submitted]) -> None:
        if submitted and self._first:
            self._first = False
            now = time.monotonic()
            self._ask_at = now + PATIENCE
            self._deadline = None if self._timeout is None else now + self._timeout
        for one in submitted:
            self._open[one] = None
            one.future.add_done_callback(partial(self._arrived, one))

    def _arrived(self, one: Submitted, _future: object) -> None:
        """Called when a task has ended, in the client's thread."""
        one.ended = time.monotonic()
        self._ended.put(one)
        with contextlib.suppress(BlockingIOError):  # full: it is readable anyway
            os.write(self._wake[1], b".")

    def _take_in(self, patience: float | None) -> None:
        """Wait for a task that has ended, and deal with all that have.

        It waits for `patience` seconds; None is without limit.
        """
        with contextlib.suppress(Empty):
            while True:
                one = self._ended.get(timeout=patience)
                patience, self._ask_at = 0.0, None
                if self._output is None:
                    self._advance()
                else:
                    self._finish(one)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake[0], 65_536)

    def _advance(self) -> None:
        """Deal with the oldest tasks, as far as they have ended: stdout keeps the order."""
        while self._open and (oldest := next(iter(self._open))).future.done():
            self._finish(oldest)

    # --- one task ----------------------------------------------------------------------------

    def _finish(self, one: Submitted) -> None:
        """Deal with a task that has ended. Raises _StdoutLost if stdout cannot be written."""
        error = one.future.exception()
        if isinstance(error, TaskFailed):
            self._close(one, "failed", error, error.reason)
            self._client.acknowledge(one.future)
        elif isinstance(error, TaskCancelled):
            self._close(one, "cancelled", error)
            self._client.acknowledge(one.future)
        elif isinstance(error, MasterworkerError):  # its status is worth a look
            self._close(one, "unknown", error)
        elif error is not None:
            raise error
        else:
            self._write(one, one.future.result())
        del self._open[one]

    def _write(self, one: Submitted, result: bytes) -> None:
        place = self._output
        if isinstance(place, Names):
            place = place.place(one.file, one.task)
        try:
            write_bytes(result, place)
        except OSError as error:
            if place is None:
                raise _StdoutLost(error.strerror or str(error)) from error
            why = f"cannot write {place}: {error.strerror or error}"
            self._complain(why)
            say_where([one])
            self._record(one, UNWRITTEN, why=why)
            self._code = max(self._code, 1)
        else:
            self._client.acknowledge(one.future)
            self._record(one, "done", output=place)

    def _close(
        self, one: Submitted, state: str, error: MasterworkerError, reason: str | None = None
    ) -> None:
        self._complain(f"{one.label}{error}")
        self._code = max(self._code, error.exit_code)
        self._record(one, state, reason=reason, why=str(error))

    def _record(
        self,
        one: Submitted,
        state: str,
        *,
        reason: str | None = None,
        why: str = "",
        output: Path | None = None,
    ) -> None:
        seconds = None if one.ended is None else one.ended - one.since
        self._note(Outcome(one.name, state, one.task, reason, why, output, seconds))

    def _sound(self, batch: list[Payload]) -> list[Payload]:
        """The payloads that could be read; of each other one it is told why not."""
        for payload in batch:
            if payload.error is not None:
                name, why = payload.source.name, str(payload.error)
                self._complain(f"{name} was not submitted: {why}")
                self._code = max(self._code, getattr(payload.error, "exit_code", 1))
                self._note(Outcome(name, NOT_SUBMITTED, why=why))
        return [payload for payload in batch if payload.error is None]

    def _note(self, outcome: Outcome) -> None:
        self._counts[outcome.state] += 1
        self._tell(outcome)

    def _complain(self, message: str) -> None:
        self._progress.clear()
        complain(message)

    # --- the end -----------------------------------------------------------------------------

    def _leave(
        self, explain: Callable[[Iterable[str]], dict[str, str]], unsubmitted: list[str]
    ) -> None:
        """Tell of the tasks whose results were not written, because time or stdout ended."""
        left = self.left
        if not left and not unsubmitted:
            return
        self._progress.clear()
        waiting = [one for one in left if not one.future.done()]
        if self._late and (waiting or unsubmitted):
            count = len(waiting)
            what = f"no result of {count:,} task{'' if count == 1 else 's'}"
            complain(
                f"{what if waiting else 'not everything submitted'} within {self._timeout:g} s"
            )
            self._code = TIMED_OUT
        why = explain(one.task for one in waiting[:LISTED]) if waiting else {}
        say_where(left, unsubmitted, why)
        for one in left:
            state = UNWRITTEN if one.future.done() else UNFINISHED
            self._record(one, state, why=why.get(one.task, ""))
        for name in unsubmitted:
            self._note(Outcome(name, NOT_SUBMITTED, why="the command ended before its turn"))


class _StdoutLost(Exception):
    """Stdout cannot be written any more, and what was written there last may be half a result."""


def say_where(
    left: Sequence[Submitted], unsubmitted: Sequence[str] = (), why: Mapping[str, str] | None = None
) -> None:
    """Say of each task whose result was not written how to get at it, and what is no task yet."""
    names = [one.name for one in left if _accepted(one) is False] + list(unsubmitted)
    if names:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        say(f"not submitted: {'the rest of stdin' if names[0] == '-' else names[0]}{more}")
    sent = [one for one in left if _accepted(one) is not False]
    for one in sent[:LISTED]:
        say(f"{one.label}task {one.task} {_state(one, why or {})}")
    if len(sent) > LISTED:
        say(f"and {len(sent) - LISTED:,} more, from {sent[LISTED].task} to {sent[-1].task}")


def _accepted(one: Submitted) -> bool | None:
    """Whether a task was accepted; None if that is not known."""
    error = one.future.exception() if one.future.done() else None
    return error.accepted if isinstance(error, ClientClosed) else True


def _state(one: Submitted, why: Mapping[str, str]) -> str:
    look, get = f"mwctl tasks show {one.task}", f"mwctl tasks result {one.task}"
    if _accepted(one) is None:
        return f"may have been accepted; to look at it: {look}"
    error = one.future.exception() if one.future.done() else None
    if not one.future.done() or isinstance(error, ClientClosed):
        reason = why.get(one.task)
        return f"has no result yet{f' ({reason})' if reason else ''}; to get it later: {get}"
    if error is None:
        return f"is done, and its result is kept; to get it: {get}"
    return f"has ended without a result; to look at it: {look}"
