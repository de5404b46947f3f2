"""Converts between records and jobs for a worker: an assignment becomes a job, an outcome a change.

A clerk does no I/O and has no state beyond its worker's settings. It also opens and seals the data
of sealed tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..decisions import life
from ..decisions.failures import FailedAttempt, failed_attempt
from ..execution.attempts import Job, Outcome
from ..words import book, evidence
from ..words.executor import Offered, TaskContext
from ..words.model import Attempt, Task
from ..words.sealing import Keys, Seal
from ..zookeeper.batches import Unit
from ..zookeeper.operations import Create, Delete

MAX_WHY = 300
"""Maximum length, in characters, of the reason for a failed attempt in the log."""


class Held(NamedTuple):
    """A task that an incarnation holds, with all data needed to run it or hand it back.

    `version` is the version of its assignment.
    """

    task: Task
    payload: bytes
    version: int


def understand(name: str, data: bytes, version: int) -> Held:
    """Decode the assignment called `name`. Raises BadRecord."""
    return Held(book.movable_task_in(name, data), book.payload_in(data), version)


class Clerk:
    """Writes for the incarnation `worker`, which offers `executors` and has `keys`.

    `config` returns the operator's configuration of an executor.
    """

    def __init__(
        self,
        worker: str,
        executors: Mapping[str, Offered],
        config: Callable[[str], Any],
        keys: Keys | None,
    ) -> None:
        self._worker = worker
        self._executors = executors
        self._config = config
        self._keys = keys

    def can_run(self, task: Task) -> bool:
        """Whether this worker has the executor, and the key if the task is sealed."""
        has_key = not task.sealed or (self._keys is not None and task.sealed in self._keys.ids)
        return has_key and task.executor in self._executors

    def job(self, held: Held) -> Job:
        """The job that runs a task. Raises SealBroken if its payload cannot be opened."""
        task, payload, options = held.task, held.payload, held.task.options
        seal = self._seal(task)
        if seal is not None:
            payload, options = seal.open_payload(payload)
        context = TaskContext(
            task_id=task.id,
            executor=task.executor,
            worker=self._worker,
            attempt=len(task.history) + 1,
            submitted=task.submitted,
            options=dict(options),  # a copy: tasks submitted together share their options
            config=self._config(task.executor),
            sealed=seal is not None,
        )
        return Job(task, payload, context)

    def settle(self, held: Held, outcome: Outcome) -> Unit[str]:
        """The change that records an outcome: a status, or a return to the queue for a retry."""
        task, result, detail = held.task, outcome.result or b"", outcome.detail
        seal = self._seal(task)
        if outcome.reason is None:
            result = seal.result(result) if seal else result
            move = life.complete(task, self._worker, outcome.started, outcome.ended)
            return _change(held, move, result)
        if seal and not outcome.unopened:
            detail = seal.evidence(detail, len(task.history))
        attempt = Attempt(self._worker, outcome.reason, detail, outcome.started, outcome.ended)
        attempts = self._executors[task.executor].attempts
        return _change(held, life.fail(task, attempt, attempts, outcome.ended))

    def failure(self, held: Held, outcome: Outcome) -> FailedAttempt:
        """The log line of a failed attempt; it has no evidence if the task is sealed."""
        if outcome.reason is None:
            raise ValueError(f"the attempt of task {held.task.id} did not fail")
        why = "" if held.task.sealed else evidence.point(outcome.detail)
        attempt = Attempt(self._worker, outcome.reason, "", outcome.started, outcome.ended)
        attempts = self._executors[held.task.executor].attempts
        move = life.fail(held.task, attempt, attempts, outcome.ended)
        return failed_attempt(move, attempts)._replace(why=why[:MAX_WHY])

    def hand_back(self, held: Held) -> Unit[str]:
        """The change that returns a task to the queue."""
        return _change(held, life.hand_back(held.task, self._worker))

    def _seal(self, task: Task) -> Seal | None:
        """The seal of a task, if it is sealed."""
        if not task.sealed or self._keys is None:
            return None
        return self._keys.seal(task.id, task.executor, task.sealed)


def _change(held: Held, move: life.Move, result: bytes = b"") -> Unit[str]:
    if move.status is not None:
        data = book.status_data(move.task, move.status, result)
    else:
        data = book.task_data(move.task, held.payload)
    create = Create(move.target, data, owners=(held.task.owner,))
    return Unit(held.task.id, (Delete(move.source, held.version), create))
