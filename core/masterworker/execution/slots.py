"""Attempts in child processes: a number of slots, each with a process that is kept between tasks.

A slot is a thread and, from its first job on, a child process. The thread takes a job, asks its
child, waits for the answer, the child's death or the time limit, and delivers the outcome. An
attempt counts as long as the runner knows it as running in that slot; to stop one is to strike it
out and kill the process group, and whatever its thread still learns about it is dropped.
"""

from __future__ import annotations

import logging
import reprlib
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..words import evidence, limits
from ..words.errors import BadConfiguration
from ..words.executor import Executor
from ..words.model import Reason
from . import frames
from .attempts import Job, OnOutcome, Outcome
from .guardian import Guardian
from .process import DEATH_SECONDS, ChildEnded, ChildProcess
from .sandbox import Sandbox

log = logging.getLogger(__name__)

RECYCLE_AFTER: Final = 1_000
"""Attempts after which a slot's process is replaced, with whatever executors left behind in it."""

BACK_OFF: Final = 1.0
"""Seconds that a slot rests when it could not start its process."""


class _Slot:
    """Room for one attempt. `child` is set by the slot's own thread alone, under the lock."""

    def __init__(self) -> None:
        self.child: ChildProcess | None = None

    @property
    def spent(self) -> bool:
        """Whether its child can no longer be asked and is to be done away with."""
        return self.child is not None and not self.child.usable


class ProcessRunner:
    """The `Runner` of executors that are not inline.

    `executors` are those it can run, by name, with `count` attempts at a time. `configs` are the
    operator's tables for them. `sandbox` bounds their processes, and `environment` is what those
    see beside what it gives them. A process is replaced after `recycle_after` attempts.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor],
        count: int,
        guardian: Guardian,
        on_outcome: OnOutcome,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        recycle_after: int = RECYCLE_AFTER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Raises BadConfiguration if `configs` cannot be handed to a process."""
        self._executors = executors
        self._count = count
        self._guardian = guardian
        self._on_outcome = on_outcome
        sandbox = sandbox or Sandbox()
        self._hello = _hello(executors, configs or {}, sandbox)
        self._environment = sandbox.environment() | dict(environment or {})
        self._user = sandbox.user
        self._recycle_after = recycle_after
        self._changed = threading.Condition()
        # Everything below is guarded by the condition. A task is in at most one of the first two.
        self._queue: OrderedDict[str, Job] = OrderedDict()
        self._running: dict[str, _Slot] = {}
        self._slots: list[_Slot] = []
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    def start(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            if self._closed:
                return
            for job in jobs:
                if job.task.id not in self._running:
                    self._queue.setdefault(job.task.id, job)
            wanted = min(self._count, self._busy + len(self._queue))
            for _ in range(wanted - len(self._slots)):
                self._open_slot()
            self._changed.notify_all()  # one alone could be a slot that backs off

    def stop(self, task_id: str) -> None:
        with self._changed:
            self._queue.pop(task_id, None)
            slot = self._running.pop(task_id, None)
            if slot is not None and slot.child is not None:
                slot.child.kill()

    def stop_all(self) -> None:
        with self._changed:
            self._queue.clear()
            self._running.clear()
            children = [slot.child for slot in self._slots if slot.child is not None]
            for child in children:
                child.kill()
            self._changed.notify_all()  # idle slots too do away with their children
        deadline = time.monotonic() + DEATH_SECONDS
        for child in children:
            child.gone.wait(max(0.0, deadline - time.monotonic()))

    def withdraw(self) -> list[str]:
        with self._changed:
            withdrawn = list(self._queue)
            self._queue.clear()
            return withdrawn

    def held(self) -> set[str]:
        with self._changed:
            return set(self._queue) | set(self._running)

    def running(self) -> set[str]:
        with self._changed:
            return set(self._running)

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self.stop_all()
        deadline = time.monotonic() + DEATH_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- a slot's thread ---

    def _open_slot(self) -> None:
        slot = _Slot()
        name = f"slot-{len(self._slots)}"
        thread = threading.Thread(target=self._serve, args=(slot,), name=name, daemon=True)
        self._slots.append(slot)
        self._threads.append(thread)
        thread.start()

    def _serve(self, slot: _Slot) -> None:
        while not self._closed:
            if slot.spent:
                self._replace(slot)
            job = self._take(slot)
            if job is not None:
                self._finish(slot, self._attempt(slot, job))
        self._replace(slot)

    def _take(self, slot: _Slot) -> Job | None:
        """The next job, or None if there is something else to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed or slot.spent)
            if self._closed or slot.spent or not self._queue:
                return None
            task_id, job = self._queue.popitem(last=False)
            self._running[task_id] = slot
            self._busy += 1
            return job

    def _attempt(self, slot: _Slot, job: Job) -> Outcome:
        task_id = job.task.id
        started = time.time()
        try:
            request = _request(job)
            if slot.child is not None and slot.child.key_id != job.task.sealed:
                self._replace(slot)  # what it holds of one key's tasks is none of the others'
            child = slot.child or self._new_child(slot, job.task.sealed)
            if not self._counts(slot, task_id):
                return Outcome(task_id, started, time.time())  # stopped meanwhile; goes nowhere
            limit = self._executors[job.task.executor].time_limit
            started = time.time()
            answer = child.ask(request, limit, f"{job.task.executor} {task_id}")
        except ChildEnded as ended:
            self._replace(slot)
            return Outcome(
                task_id,
                started,
                time.time(),
                reason=ended.reason,
                detail=ended.detail,
                interrupted=ended.interrupted,
            )
        except frames.BadFrame as error:
            detail = f"the worker could not hand the task to a child process: {error}"
            return Outcome(task_id, started, time.time(), reason=Reason.FAILED, detail=detail)
        except (OSError, RuntimeError) as error:  # the machine's trouble, not the task's
            log.error("cannot run task %s: no child process: %s", task_id, error)
            self._back_off(slot, task_id)
            return Outcome(task_id, started, time.time(), interrupted=True)
        outcome = _outcome(task_id, started, answer)
        if outcome.reason is Reason.CRASHED:
            self._replace(slot)  # its next answer could be to this question
        return outcome

    def _back_off(self, slot: _Slot, task_id: str) -> None:
        """Keep the slot taken for a while, so that tasks go where there are processes."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._running.get(task_id) is not slot, BACK_OFF
            )

    def _new_child(self, slot: _Slot, key_id: str) -> ChildProcess:
        child = ChildProcess(self._environment, self._guardian, self._user, key_id)
        with self._changed:
            slot.child = child
        child.greet(self._hello)
        return child

    def _counts(self, slot: _Slot, task_id: str) -> bool:
        with self._changed:
            return self._running.get(task_id) is slot

    def _finish(self, slot: _Slot, outcome: Outcome) -> None:
        with self._changed:
            self._busy -= 1
            if self._running.get(outcome.task_id) is slot:
                del self._running[outcome.task_id]
                self._on_outcome([outcome])
        if slot.child is not None and slot.child.asked >= self._recycle_after:
            self._replace(slot)

    def _replace(self, slot: _Slot) -> None:
        """End the slot's child, if it has one; the next job gets a new one."""
        if slot.child is not None:
            slot.child.end()
            with self._changed:
                slot.child = None


def _request(job: Job) -> bytes:
    context = job.context
    return frames.pack(
        {
            "task_id": context.task_id,
            "executor": job.task.executor,
            "worker": context.worker,
            "attempt": context.attempt,
            "submitted": context.submitted,
            "options": dict(context.options),
            "sealed": context.sealed,
            "payload": job.payload,
        }
    )


def _outcome(task_id: str, started: float, answer: Mapping[str, Any]) -> Outcome:
    ended = time.time()
    match answer:
        case {"result": bytes(result)} if len(result) <= limits.MAX_PAYLOAD:
            return Outcome(task_id, started, ended, result)
        case {"reason": str(reason), "detail": str(detail)} if reason in {*Reason}:
            detail = evidence.bounded(detail)
            return Outcome(task_id, started, ended, reason=Reason(reason), detail=detail)
    said = reprlib.repr(answer)  # repr itself fails on a deep enough nest
    detail = f"its process answered {said:.200}, which is no answer"
    return Outcome(task_id, started, ended, reason=Reason.CRASHED, detail=detail)


def _hello(
    executors: Mapping[str, Executor], configs: Mapping[str, Mapping[str, Any]], sandbox: Sandbox
) -> bytes:
    """What a new child is told: its bounds, and what to load."""
    wanted = [
        {"name": executor.name, "plugin": executor.plugin, "config": configs.get(name)}
        for name, executor in executors.items()
    ]
    try:
        return frames.pack({"executors": wanted, **sandbox.bounds()})
    except (TypeError, ValueError, OverflowError) as error:
        raise BadConfiguration(
            f"the configuration of {', '.join(executors)} cannot be handed to a process: {error}; "
            "write what is not text, a number, a list or a table as text"
        ) from error
