"""Runs attempts in child processes, in a number of slots that each run one attempt at a time.

A slot is a thread. It takes a job and an idle child process that fits, or starts one, sends the
request, waits for the answer, the child's death or the time limit, and delivers the outcome. Then
it waits until the child has undone what the attempt left behind, so that neither the time nor the
output of that is counted as the next attempt's. An attempt is valid while the runner lists it as
running in that slot. To stop it, the runner removes it from the list and kills the process group; a
later outcome from its thread is dropped.

A child that cannot be started, or cannot load its plugin, is a problem of this worker and not of
the task. Every job of that executor is then delivered as not started, and a separate thread retries
from time to time.
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
from ..words.executor import Offer
from ..words.model import Reason
from . import frames
from .attempts import Job, OnOutcome, Outcome
from .children import CannotStart, Idle, Nursery
from .guardian import Guardian
from .process import DEATH_SECONDS, ChildEnded, ChildProcess
from .sandbox import Sandbox
from .unable import Unable

log = logging.getLogger(__name__)

RECYCLE_AFTER: Final = 1_000
"""Attempts after which a process is replaced, to discard what executors left in it."""

SPARE: Final = 4
"""Idle children kept in addition to one for each slot: tasks of several plugins may alternate."""


class _Slot:
    """Room for one attempt. Only the slot's own thread sets `child`, under the lock."""

    def __init__(self) -> None:
        self.child: ChildProcess | None = None


class ProcessRunner:
    """The `Runner` of executors that are not inline.

    `executors` are those it can run, by name, with `count` attempts at a time. `configs` are the
    operator's tables for them. `sandbox` restricts their processes, and `environment` has the
    variables they get in addition to the sandbox's. A process is replaced after `recycle_after`
    attempts.
    """

    def __init__(
        self,
        executors: Mapping[str, Offer],
        count: int,
        guardian: Guardian,
        on_outcome: OnOutcome,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        recycle_after: int = RECYCLE_AFTER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Raises BadConfiguration if `configs` cannot be passed to a process."""
        self._executors = executors
        self._count = count
        self._most = count + max(SPARE, count // 2)
        self._on_outcome = on_outcome
        self._nursery = Nursery(
            executors, configs or {}, guardian, sandbox or Sandbox(), environment or {}
        )
        self._recycle_after = recycle_after
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._failed = threading.Condition(lock)  # an executor is unavailable
        # Everything below is guarded by the lock. A task is in at most one of the first two.
        self._queue: OrderedDict[str, Job] = OrderedDict()
        self._running: dict[str, _Slot] = {}
        self._slots: list[_Slot] = []
        self._threads: list[threading.Thread] = []
        self._idle = Idle()
        self._unable = Unable()
        self._trial = _Slot()
        self._busy = 0  # slots with a job, or with a child that is not yet tidy
        self._tidying = 0  # those of them whose job has its outcome
        self._closed = False

    def open(self) -> None:
        """Start the two threads without which tasks or retries would wait for ever.

        `start` does so if it is the first call. Raises RuntimeError if the system allows no
        further thread.
        """
        with self._changed:
            if not self._threads:
                self._begin("retrying", self._retry)
            if not self._slots:
                self._add_slot()

    def start(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            if self._closed:
                return
            self.open()
            for job in jobs:
                if job.task.id not in self._running:
                    self._queue.setdefault(job.task.id, job)
            self._reject()
            # A slot that is tidying up is about to be free: its child is warm, a new one is not.
            wanted = min(self._count, self._busy - self._tidying + len(self._queue))
            try:
                while len(self._slots) < wanted:
                    self._add_slot()
            except RuntimeError as error:
                log.warning("%d of %d slots can be used: %s", len(self._slots), self._count, error)
            self._changed.notify_all()

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
            slots = [*self._slots, self._trial]
            busy = [slot.child for slot in slots if slot.child is not None]
            idle = self._idle.dismiss(keep=0)
            for child in [*busy, *idle]:
                child.kill()
            self._changed.notify_all()
            self._failed.notify_all()
        for child in idle:
            child.end()
        deadline = time.monotonic() + DEATH_SECONDS
        for child in busy:
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

    def unable(self) -> dict[str, str]:
        with self._changed:
            return self._unable.whys()

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self.stop_all()
        deadline = time.monotonic() + DEATH_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, name: str, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _add_slot(self) -> None:
        slot = _Slot()
        self._begin(f"slot-{len(self._slots)}", self._serve, slot)
        self._slots.append(slot)

    # --- a slot's thread ---

    def _serve(self, slot: _Slot) -> None:
        while (job := self._take(slot)) is not None:
            began = time.time()
            try:
                outcome = self._attempt(slot, job)
            except Exception as error:
                log.exception("task %s: the worker failed to run it", job.task.id)
                why = f"the worker failed to run the task; its log has more: {error!r:.200}"
                outcome = Outcome(
                    job.task.id, began, time.time(), reason=Reason.CRASHED, detail=why
                )
                if slot.child is not None:
                    slot.child.kill()  # it may still be at work on the task
            self._deliver(slot, outcome)
            self._release(slot)

    def _take(self, slot: _Slot) -> Job | None:
        """The next job; None if the runner is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return None
            task_id, job = self._queue.popitem(last=False)
            self._running[task_id] = slot
            self._busy += 1
            return job

    def _attempt(self, slot: _Slot, job: Job) -> Outcome:
        task_id, offer = job.task.id, self._executors[job.task.executor]
        started = time.time()
        try:
            request = _request(job)
            child = self._child(slot, offer, job.task.sealed)
            if not self._counts(slot, task_id):
                return Outcome(task_id, started, time.time())  # stopped meanwhile
            started = time.time()
            answer = child.ask(request, offer.time_limit, f"{offer.name} {task_id}")
        except CannotStart as error:
            if self._counts(slot, task_id):
                self._cannot_run(offer.name, error)
            return Outcome(task_id, started, time.time(), unstarted=str(error))
        except ChildEnded as ended:
            return Outcome(
                task_id,
                started,
                time.time(),
                reason=ended.reason,
                detail=ended.detail,
                interrupted=ended.interrupted,
            )
        except frames.BadFrame as error:
            detail = f"the worker could not pass the task to a child process: {error}"
            return Outcome(task_id, started, time.time(), reason=Reason.FAILED, detail=detail)
        outcome = _outcome(task_id, started, answer)
        if outcome.reason is Reason.CRASHED:
            child.kill()  # its next answer could be to this question
        return outcome

    def _child(self, slot: _Slot, offer: Offer, key_id: str) -> ChildProcess:
        """An idle child that fits, or a new one that replaces the one that has waited longest.

        Raises CannotStart, or ChildEnded if the guardian killed it.
        """
        while True:
            with self._changed:
                child = slot.child = self._idle.take(offer, key_id)
                others = self._busy - 1
                going = [] if child else self._idle.dismiss(keep=self._most - others - 1)
            for one in going:
                one.end()
            if child is None:
                return self._nursery.start(offer, key_id, lambda new: self._hold(slot, new))
            if child.usable:
                return child
            child.end()

    def _hold(self, slot: _Slot, child: ChildProcess | None) -> None:
        with self._changed:
            slot.child = child

    def _counts(self, slot: _Slot, task_id: str) -> bool:
        with self._changed:
            return self._running.get(task_id) is slot

    def _deliver(self, slot: _Slot, outcome: Outcome) -> None:
        with self._changed:
            self._tidying += 1
            if self._running.get(outcome.task_id) is slot:
                del self._running[outcome.task_id]
                self._on_outcome([outcome])

    def _release(self, slot: _Slot) -> None:
        """Keep the slot's child for another job if it is usable; otherwise end it."""
        child = slot.child
        tidy = child is not None and child.tidy() and child.asked < self._recycle_after
        with self._changed:
            self._busy -= 1
            self._tidying -= 1
            if child is not None and tidy and child.usable:
                slot.child = None
                self._idle.add(child)
        self._dispose(slot)

    def _dispose(self, slot: _Slot) -> None:
        if slot.child is not None:
            slot.child.end()
            self._hold(slot, None)

    # --- executors that cannot be run at present ---

    def _cannot_run(self, executor: str, error: CannotStart) -> None:
        """Deliver this executor's jobs as not started, and schedule a retry.

        If no interpreter starts, this applies to every executor.
        """
        with self._changed:
            others = self._executors.keys() - self._unable.whys() if error.everything else set()
            names = sorted({executor} | others)
            pauses = [self._unable.failed(name, str(error)) for name in names]
            log.warning(
                "cannot run %s: %s; retrying in %.1f s", ", ".join(names), error, min(pauses)
            )
            self._reject()
            self._on_outcome([])
            self._failed.notify_all()

    def _reject(self) -> None:
        """Deliver all waiting jobs of unavailable executors; the lock must be held."""
        whys = self._unable.whys()
        rejected = (
            [job for job in self._queue.values() if job.task.executor in whys] if whys else []
        )
        now = time.time()
        for job in rejected:
            del self._queue[job.task.id]
        if rejected:
            self._on_outcome(
                [
                    Outcome(job.task.id, now, now, unstarted=whys[job.task.executor])
                    for job in rejected
                ]
            )

    def _retry(self) -> None:
        """Try each unavailable executor when it is due."""
        while (executor := self._next_try()) is not None:
            try:
                self._try(executor)
            except Exception:
                log.exception("executor %s: the worker failed to try it again", executor)
                with self._changed:
                    self._unable.postpone(executor)
            self._dispose(self._trial)

    def _next_try(self) -> str | None:
        with self._changed:
            while not self._closed:
                if executor := self._unable.due():
                    return executor
                self._failed.wait(self._unable.pause() if self._unable else None)
            return None

    def _try(self, executor: str) -> None:
        """Test if a child starts for this executor. It is not kept: it dies with its thread."""
        offer = self._executors[executor]
        try:
            child = self._nursery.start(offer, "", lambda new: self._hold(self._trial, new))
        except CannotStart as error:
            self._cannot_run(executor, error)
        except ChildEnded:  # it was stopped from outside, which says nothing
            with self._changed:
                self._unable.postpone(executor)
        else:
            with self._changed:
                working = [
                    name
                    for name in self._unable.whys()
                    if self._executors[name].plugin == offer.plugin and name not in child.refused
                ]
                for name in working:
                    self._unable.works(name)
                self._on_outcome([])
            log.info("can run %s again", ", ".join(working))


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
    detail = f"its process sent an invalid answer: {said:.200}"
    return Outcome(task_id, started, ended, reason=Reason.CRASHED, detail=detail)
