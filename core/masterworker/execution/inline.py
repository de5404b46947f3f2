"""Runs attempts inside the worker itself, for trivial executors registered as inline.

One thread runs them one after another. Outcomes are delivered in batches, like the jobs: at tens of
thousands of attempts per second, waking the worker for each one would cost more than the attempts.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from ..words.executor import Executor
from .attempts import Job, OnOutcome, Outcome, execute

BATCH_COUNT: Final = 64
"""Maximum number of outcomes delivered together."""

BATCH_SECONDS: Final = 0.005
"""Seconds that an outcome waits for others while attempts continue."""

_CLOSE_SECONDS: Final = 1.0


class InlineRunner:
    """The `Runner` of inline executors.

    An attempt that has started cannot be stopped; `stop` discards its outcome.
    """

    def __init__(self, executors: Mapping[str, Executor], on_outcome: OnOutcome) -> None:
        self._executors = executors
        self._on_outcome = on_outcome
        self._changed = threading.Condition()
        # Everything below is guarded by the condition. A task is in at most one of the three.
        self._queue: OrderedDict[str, Job] = OrderedDict()
        self._running: str | None = None
        self._ready: dict[str, Outcome] = {}
        self._until = float("inf")
        self._closed = False
        self._thread: threading.Thread | None = None  # until there is something to run

    def start(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="inline", daemon=True)
                self._thread.start()
            for job in jobs:
                task_id = job.task.id
                if task_id != self._running and task_id not in self._ready:
                    self._queue.setdefault(task_id, job)
            self._changed.notify()

    def extend(self, until: float) -> None:
        """Start attempts until this second of `time.monotonic()`, and none after it."""
        with self._changed:
            self._until = until
            self._changed.notify()

    def stop(self, task_id: str) -> None:
        with self._changed:
            self._queue.pop(task_id, None)
            self._ready.pop(task_id, None)
            if self._running == task_id:
                self._running = None

    def stop_all(self) -> None:
        with self._changed:
            self._queue.clear()
            self._ready.clear()
            self._running = None

    def withdraw(self) -> list[str]:
        with self._changed:
            withdrawn = list(self._queue)
            self._queue.clear()
            return withdrawn

    def held(self) -> set[str]:
        with self._changed:
            return self.running() | set(self._queue) | set(self._ready)

    def running(self) -> set[str]:
        with self._changed:
            return set() if self._running is None else {self._running}

    def unable(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self.stop_all()
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _serve(self) -> None:
        deliver_at = 0.0
        while (job := self._next()) is not None:
            outcome = execute(self._executors[job.task.executor], job.payload, job.context)
            with self._changed:
                now = time.monotonic()
                if self._running == job.task.id:
                    self._running = None
                    if not self._ready:
                        deliver_at = now + BATCH_SECONDS
                    self._ready[job.task.id] = outcome
                if len(self._ready) >= BATCH_COUNT or now >= deliver_at:
                    self._deliver()

    def _next(self) -> Job | None:
        with self._changed:
            if not self._may_begin():
                self._deliver()  # the next attempt may be far away
            self._changed.wait_for(lambda: self._closed or self._may_begin())
            if self._closed:
                return None
            self._running, job = self._queue.popitem(last=False)
            return job

    def _may_begin(self) -> bool:
        return bool(self._queue) and time.monotonic() < self._until

    def _deliver(self) -> None:
        if self._ready:
            outcomes = list(self._ready.values())
            self._ready.clear()
            self._on_outcome(outcomes)
