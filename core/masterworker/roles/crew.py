"""All attempts of a worker: each job runs inline or in a process, depending on its executor.

This also enforces the worker's lease: attempts stop when ZooKeeper has been silent for so long that
the session could end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ..execution.attempts import Job, Outcome, Runner
from ..execution.configuration import configure
from ..execution.guardian import Guardian
from ..execution.inline import InlineRunner
from ..execution.sandbox import Sandbox
from ..execution.slots import ProcessRunner
from ..words.executor import Executor, Offer, Offered


class Crew:
    """Runs a worker's attempts for as long as the worker lives.

    `executors` are the executors offered, by name, inline ones with their code. `processes` is the
    number of attempts that may run in child processes at a time, restricted by `sandbox`. `configs`
    are the operator's raw tables, from `file`. `wake` is set when an outcome has arrived, or when
    an executor becomes unavailable or available again. Raises BadConfiguration. Entering the
    context starts the threads and processes; leaving it ends all of them.
    """

    def __init__(
        self,
        executors: Mapping[str, Offered],
        processes: int,
        wake: threading.Event,
        configs: Mapping[str, Mapping[str, Any]],
        file: Path | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self._executors = executors
        inline = {name: one for name, one in executors.items() if isinstance(one, Executor)}
        others = {name: one for name, one in executors.items() if isinstance(one, Offer)}
        self._configs = configure(inline, configs, file=file)
        self._wake = wake
        self._outcomes: deque[Outcome] = deque()
        self._guardian: Guardian | None = None
        self._inline: InlineRunner | None = None
        self._processes: ProcessRunner | None = None
        if inline:
            self._inline = InlineRunner(inline, self._take)
        if others:
            self._guardian = Guardian()
            own = {name: table for name, table in configs.items() if name in others}
            self._processes = ProcessRunner(
                others, processes, self._guardian, self._take, own, sandbox=sandbox
            )

    def __enter__(self) -> Self:
        if self._guardian is not None:
            self._guardian.start()
        if self._processes is not None:
            self._processes.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def config(self, executor: str) -> Any:
        """An inline executor's configuration, as its `config` function returned it."""
        return self._configs.get(executor)

    def start(self, jobs: Sequence[Job]) -> None:
        """Run these jobs as soon as slots are free."""
        inline = [job for job in jobs if self._executors[job.task.executor].inline]
        others = [job for job in jobs if not self._executors[job.task.executor].inline]
        if inline and self._inline is not None:
            self._inline.start(inline)
        if others and self._processes is not None:
            self._processes.start(others)

    def stop(self, task_id: str) -> None:
        """Stop this attempt; it has no outcome."""
        for runner in self._runners():
            runner.stop(task_id)

    def stop_all(self) -> None:
        """Stop every attempt; return when their processes are dead."""
        for runner in self._runners():
            runner.stop_all()
        self._outcomes.clear()

    def withdraw(self) -> list[str]:
        """Drop the jobs that have not started, and return their tasks."""
        return [task_id for runner in self._runners() for task_id in runner.withdraw()]

    def unable(self) -> dict[str, str]:
        """The executors that are unavailable here at present, each with the reason."""
        return {name: why for runner in self._runners() for name, why in runner.unable().items()}

    def outcomes(self) -> list[Outcome]:
        """The outcomes since the last call."""
        return [self._outcomes.popleft() for _ in range(len(self._outcomes))]

    def lease(self, until: float) -> None:
        """Let attempts in processes run, and inline ones start, until this monotonic second."""
        if self._guardian is not None:
            self._guardian.extend(until)
        if self._inline is not None:
            self._inline.extend(until)

    def close(self) -> None:
        """End every thread and process."""
        for runner in self._runners():
            runner.close()
        if self._guardian is not None:
            self._guardian.close()

    def _runners(self) -> list[Runner]:
        return [runner for runner in (self._inline, self._processes) if runner is not None]

    def _take(self, outcomes: list[Outcome]) -> None:
        self._outcomes.extend(outcomes)
        self._wake.set()
