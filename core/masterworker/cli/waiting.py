"""Waiting for the results of submitted tasks, and writing them.

Tasks are submitted while results are written, so the number of unfinished tasks and of results in
memory is bounded. A result is acknowledged only after it is safely written. Until then
`mwctl tasks result` can read it.
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
"""Maximum number of unfinished tasks."""

PATIENCE: Final = 1.0
"""Seconds without a first result after which the state of the cluster is checked."""

LISTED: Final = 10
"""Maximum number of unfinished tasks that are listed individually."""

TIMED_OUT: Final = 124
"""The exit code of a wait that timed out, as for timeout(1)."""

NOT_SUBMITTED: Final = "not submitted"
UNFINISHED: Final = "unfinished"
UNWRITTEN: Final = "unwritten"
STATES: Final = ("done", "failed", "cancelled", "unknown", UNWRITTEN, UNFINISHED, NOT_SUBMITTED)
"""The possible outcomes of a payload, in the order of the summary."""


@dataclass(slots=True, eq=False)
class Submitted:
    """A submitted task: its payload's name, its future, and its monotonic submission time."""

    name: str
    file: Path | None
    future: TaskFuture
    since: float
    ended: float | None = None

    @property
    def task(self) -> str:
        """The task's id."""
        return self.future.task_id

    @property
    def label(self) -> str:
        """The prefix of messages about the task: its file or line."""
        return "" if self.name == "-" else f"{self.name}: "


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one payload. `seconds` is the time from submission to result."""

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

    `output` is a file, or the names in a folder. With None, the results go to stdout in the order
    of the payloads. `timeout` is the time in seconds for all results, starting when the first tasks
    are accepted. `tell` is called with each outcome.
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
        """Tasks whose results are not written yet, oldest first."""
        self._counts: Counter[str] = Counter()
        self._code = 0
        self._first = True
        self._ask_at: float | None = None
        """When to check the cluster; None if results arrive or it has been checked."""
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
        """Submit, wait and write, and return the exit code. Errors are printed on stderr.

        `explain` returns why tasks have no result yet. `on_silence` is called if no result arrives
        for a while, and may print why.
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
        """Seconds until the next timer is due; None if there is no timer."""
        until = [moment for moment in (self._ask_at, self._deadline) if moment is not None]
        return max(0.0, min(until) - time.monotonic()) if until else None

    def _so_far(self) -> str:
        counts = [f"{count:,} {state}" for state, count in self._counts.items()]
        return ", ".join([f"{len(self._open):,} in progress", *counts])

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
        """Called in the client's thread when a task has ended."""
        one.ended = time.monotonic()
        self._ended.put(one)
        with contextlib.suppress(BlockingIOError):  # the pipe is full, and so readable anyway
            os.write(self._wake[1], b".")

    def _take_in(self, patience: float | None) -> None:
        """Wait up to `patience` seconds for a task to end, and handle all that have ended.

        With None, wait without limit.
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
        """Handle the oldest tasks that have ended, to keep the order on stdout."""
        while self._open and (oldest := next(iter(self._open))).future.done():
            self._finish(oldest)

    # --- one task ----------------------------------------------------------------------------

    def _finish(self, one: Submitted) -> None:
        """Handle a task that has ended. Raises _StdoutLost if stdout cannot be written."""
        error = one.future.exception()
        if isinstance(error, TaskFailed):
            self._close(one, "failed", error, error.reason)
            self._client.acknowledge(one.future)
        elif isinstance(error, TaskCancelled):
            self._close(one, "cancelled", error)
            self._client.acknowledge(one.future)
        elif isinstance(error, MasterworkerError):  # keep the status, so that users can inspect it
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
        """The payloads that could be read. Errors of the others are printed."""
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
        """Report tasks whose results were not written, because of a timeout or a stdout error."""
        left = self.left
        if not left and not unsubmitted:
            return
        self._progress.clear()
        waiting = [one for one in left if not one.future.done()]
        if self._late and (waiting or unsubmitted):
            count = len(waiting)
            unfinished = f"{count:,} task{'' if count == 1 else 's'} did not finish"
            what = unfinished if waiting else "not all payloads were submitted"
            complain(f"{what} within {self._timeout:g} s")
            self._code = TIMED_OUT
        why = explain(one.task for one in waiting[:LISTED]) if waiting else {}
        say_where(left, unsubmitted, why)
        for one in left:
            state = UNWRITTEN if one.future.done() else UNFINISHED
            self._record(one, state, why=why.get(one.task, ""))
        for name in unsubmitted:
            self._note(
                Outcome(name, NOT_SUBMITTED, why="the command ended before it was submitted")
            )


class _StdoutLost(Exception):
    """Stdout can no longer be written. The last result there may be incomplete."""


def say_where(
    left: Sequence[Submitted], unsubmitted: Sequence[str] = (), why: Mapping[str, str] | None = None
) -> None:
    """Print how to get each result that was not written, and which payloads were not submitted."""
    names = [one.name for one in left if _accepted(one) is False] + list(unsubmitted)
    if names:
        say(f"not submitted: {in_short(names)}")
    sent = [one for one in left if _accepted(one) is not False]
    for one in sent[:LISTED]:
        say(f"{one.label}task {one.task} {_state(one, why or {})}")
    if len(sent) > LISTED:
        say(f"and {len(sent) - LISTED:,} more tasks, {sent[LISTED].task} to {sent[-1].task}")


def in_short(names: Sequence[str]) -> str:
    """The first of these payloads, and how many more there are. '-' stands for lines of stdin."""
    named = [name for name in names if name != "-"]
    more = f" and {len(named) - 1:,} more" if len(named) > 1 else ""
    parts = [named[0] + more] if named else []
    return ", and ".join([*parts, "the rest of stdin"] if "-" in names else parts)


def _accepted(one: Submitted) -> bool | None:
    """Whether a task was accepted; None if unknown."""
    error = one.future.exception() if one.future.done() else None
    return error.accepted if isinstance(error, ClientClosed) else True


def _state(one: Submitted, why: Mapping[str, str]) -> str:
    look, get = f"mwctl tasks show {one.task}", f"mwctl tasks result {one.task}"
    if _accepted(one) is None:
        return f"may have been accepted. To check, run: {look}"
    error = one.future.exception() if one.future.done() else None
    if not one.future.done() or isinstance(error, ClientClosed):
        reason = why.get(one.task)
        return f"has no result yet{f' ({reason})' if reason else ''}. To get it later, run: {get}"
    if error is None:
        return f"is done, but its result was not written. To get it, run: {get}"
    return f"ended without a result. For details, run: {look}"
