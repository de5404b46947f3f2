"""One life of a worker: one session, one id, never reused.

It registers, then repeats one loop: list the assignments, stop tasks no longer assigned, run new
ones, commit outcomes. A status is committed by the `multi` that deletes the assignment, so if the
assignment is gone, the outcome of the attempt is discarded.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ..decisions.offering import without
from ..execution.attempts import Job, Outcome
from ..words import paths, records
from ..words.errors import (
    BadRecord,
    ConnectionLost,
    MasterworkerError,
    NotAuthorized,
    PayloadTooLarge,
    SealBroken,
    SessionLost,
)
from ..words.executor import Offered
from ..words.model import Ledger, Reason, Task, Worker, WorkerState
from ..words.sealing import Keys
from ..zookeeper import batches
from ..zookeeper.failpoints import failpoint
from ..zookeeper.operations import Code, Create, Delete, Refusal, Set, Unreadable
from ..zookeeper.quarantine import Quarantine
from ..zookeeper.session import Session
from ..zookeeper.watched import Listing
from .clerk import Clerk, Held, understand
from .crew import Crew
from .heart import Heart

log = logging.getLogger(__name__)

Change = Callable[[], batches.Unit[str]]
"""Creates the change for a task. It fails if the task's next record cannot be written."""

REPAIR_SECONDS: Final = 10.0
"""The longest pause before a task is recorded again in a folder that has vanished repeatedly."""

HELD_BYTES: Final = 64 * 1024 * 1024
"""Maximum bytes of payloads held; further assignments are read when others have ended."""

COMMITTED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of results committed in one round, so that a round stays short."""

LOOK_INTERVAL: Final = 30.0
"""Seconds between full checks even if no watch reported a change."""


class Incarnation:
    """A registered worker, for as long as its session lives. Used by one thread."""

    def __init__(
        self,
        session: Session,
        crew: Crew,
        executors: Mapping[str, Offered],
        name: str,
        announcement: Worker,
        keys: Keys | None = None,
    ) -> None:
        self.id = f"{name}-{secrets.token_hex(6)}"
        self._session = session
        self._crew = crew
        self._announcement = announcement
        self._announced: Worker | None = None  # None while the tree's content is unknown
        self._clerk = Clerk(self.id, executors, crew.config, keys)
        self._folder = Listing(session, paths.assignments(self.id))
        self._held: dict[str, Held] = {}
        self._held_bytes = 0
        self._ended: dict[str, Outcome] = {}
        self._unread: list[str] = []
        self._postponed: list[Job] = []
        self._returning: set[str] = set()
        self._quarantine = Quarantine()
        self._draining = False
        self._paused = False
        self._commit_at = 0.0  # a monotonic second
        self._repairs = 0  # in a row
        self._next_look = time.monotonic() + LOOK_INTERVAL
        self._heart = Heart(session, crew.lease)

    # --- registration ------------------------------------------------------------------------

    def register(self) -> None:
        """Announce this worker and create its folder, in one `multi`: neither exists alone."""
        self._session.ensure_tree()
        me = self._session.me
        self._announcement = replace(self._announcement, owner="".join(me))
        wanted = self._wanted()
        announcement = records.encode_worker(wanted)
        refusal = self._session.commit(
            [
                Create(paths.assignments(self.id), owners=me),
                Create(paths.worker(self.id), announcement, ephemeral=True, owners=me),
            ]
        ).wait()
        if refusal is not None and not self._is_registered():
            if refusal.code == Code.NO_AUTH:
                raise NotAuthorized(
                    f"ZooKeeper denied the registration of worker {self.id}: its identity (`mwctl "
                    "acl id`) is not among the workers'"
                )
            raise MasterworkerError(f"worker {self.id} cannot register: {refusal}")
        if refusal is None:
            self._announced = wanted
        self._heart.start()
        log.info("worker %s is ready for %s", self.id, ", ".join(self._announcement.executors))

    def end(self) -> None:
        """Stop all attempts of this incarnation: its session is over, or it has left."""
        self._heart.stop()
        self._crew.stop_all()

    def _wanted(self) -> Worker:
        """The announcement that is due now: all executors except those unavailable."""
        return without(self._announcement, self._crew.unable())

    def _announce(self) -> None:
        """Update the announcement, before any task is handed back because of the change."""
        wanted = self._wanted()
        if wanted == self._announced:
            return
        self._announced = None
        announcement = records.encode_worker(wanted)
        refusal = self._session.commit([Set(paths.worker(self.id), announcement)]).wait()
        if refusal is not None:
            raise SessionLost(f"worker {self.id} cannot change its announcement: {refusal}")
        self._announced = wanted

    def _is_registered(self) -> bool:
        """Whether an earlier attempt, whose reply was lost, has registered us."""
        found = self._session.get(paths.worker(self.id))
        return found is not None and found.owner == self._session.identity

    # --- one round of the loop ---------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether it holds no task and expects none."""
        return not (self._held or self._unread or self._folder.stale)

    @property
    def silent(self) -> bool:
        """Whether ZooKeeper has been silent for so long that attempts must not run."""
        return self._heart.silent

    @property
    def next_look(self) -> float:
        """The monotonic second of the next full check.

        While ZooKeeper is away there is nothing to check; its return wakes the worker. The end of a
        silence does not wake it if the heart, which checks less often, never noticed the silence.
        The finding of the last round counts, not the present state: a round that found a silence
        has checked nothing.
        """
        if not self._session.connected:
            return float("inf")
        if self._paused:
            return time.monotonic() + self._heart.interval
        if self._ended or self._returning:
            return min(self._next_look, self._commit_at)
        return self._next_look

    def round(self) -> None:
        """Process new and withdrawn assignments, and commit outcomes.

        Raises ConnectionLost, after which the next round finds out the outcome by reading.
        """
        if self.silent:
            self._pause()
            return
        self._look()
        try:
            if self._folder.stale:
                self._list()
            self._announce()
            self._resume()
            self._read()
            self._return()
            self._collect()
            ended = self._some_ended()
            if ended and time.monotonic() >= self._commit_at:
                self._commit(
                    (
                        outcome.task_id,
                        partial(self._clerk.settle, self._held[outcome.task_id], outcome),
                    )
                    for outcome in ended
                )
                if self._ended and time.monotonic() >= self._commit_at:
                    self._session.wake.set()  # for the rest
        except ConnectionLost:
            self._folder.stale = True
            raise

    def _look(self) -> None:
        """From time to time check everything, including our own registration.

        Another process may have removed this worker or its folder, and a missing folder has no
        watch.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_INTERVAL
        if not self._is_registered():
            raise SessionLost(f"worker {self.id} is no longer registered")
        self._quarantine.reconsider()
        self._folder.stale = True

    def _some_ended(self) -> list[Outcome]:
        """The outcomes to commit in this round."""
        some: list[Outcome] = []
        size = 0
        for outcome in self._ended.values():
            some.append(outcome)
            size += len(outcome.result or b"")
            if size >= COMMITTED_BYTES:
                break
        return some

    def _pause(self) -> None:
        """Stop every attempt until ZooKeeper answers again; outcomes are kept to be committed."""
        if self._paused:
            return
        self._paused = True
        self._collect()
        over = self._ended.keys() | self._returning
        running = [held for task, held in self._held.items() if task not in over]
        self._crew.stop_all()
        self._postponed = self._jobs(running)

    def _resume(self) -> None:
        self._paused = False
        postponed, self._postponed = self._postponed, []
        if postponed:
            self._heart.renew()  # an attempt started under an expired lease is killed at once
            self._crew.start([job for job in postponed if job.task.id in self._held])

    def _list(self) -> None:
        listed = self._folder.read()
        if listed is None:
            raise SessionLost(f"the folder of worker {self.id} was removed")
        names = set(self._quarantine.sift(self._folder.path, listed))
        for gone in self._held.keys() - names:
            log.info("task %s was taken away: it is no longer assigned to this worker", gone)
            self._drop(gone)
        self._unread = sorted(names - self._held.keys())

    def _read(self) -> None:
        """Read new assignments and start them, as far as memory allows."""
        if not self._unread or self._held_bytes >= HELD_BYTES:
            return
        fresh: list[Held] = []
        size = self._held_bytes
        read = 0
        unread = [paths.assignment(self.id, name) for name in self._unread]
        for path, found in self._session.read_each(unread):
            read += 1
            if isinstance(found, Unreadable):
                self._quarantine.add(path, f"it cannot be read (error {found.code})")
            elif found is not None:
                held = self._understand(path, found.data, found.version)
                if held is not None:
                    fresh.append(held)
                    size += len(held.payload)
            if size >= HELD_BYTES:
                break
        # Only now: tasks read before a connection broke would be held but never started.
        self._held.update((held.task.id, held) for held in fresh)
        self._held_bytes = size
        self._unread = self._unread[read:]
        failpoint("worker.read")
        self._begin(fresh)

    def _understand(self, path: str, data: bytes, version: int) -> Held | None:
        try:
            return understand(path.rpartition("/")[2], data, version)
        except BadRecord as error:
            self._quarantine.add(path, str(error))
            return None

    def _begin(self, fresh: list[Held]) -> None:
        """Start these tasks; those that came too late or do not fit this worker are handed back."""
        ours = [held for held in fresh if self._can_run(held.task) and not self._draining]
        self._crew.start(self._jobs(ours))
        if len(ours) < len(fresh):
            begun = {held.task.id for held in ours}
            self.hand_back([held.task.id for held in fresh if held.task.id not in begun])

    def _can_run(self, task: Task) -> bool:
        offered = self._announced.executors if self._announced is not None else {}
        return self._clerk.can_run(task) and task.executor in offered

    def _jobs(self, tasks: Iterable[Held]) -> list[Job]:
        """A job for each task; a task whose payload cannot be opened fails."""
        jobs = []
        for held in tasks:
            try:
                jobs.append(self._clerk.job(held))
            except SealBroken as error:
                now, task_id = time.time(), held.task.id
                self._ended[task_id] = Outcome(
                    task_id, now, now, reason=Reason.FAILED, detail=str(error), unopened=True
                )
        return jobs

    def _collect(self) -> None:
        """Process the outcomes that have arrived."""
        for outcome in self._crew.outcomes():
            held = self._held.get(outcome.task_id)
            if held is None:
                continue
            if outcome.unstarted:
                self._returning.add(outcome.task_id)
                self._session.wake.set()  # for the next round, which announces the change first
            elif outcome.interrupted:
                self._postponed += self._jobs([held])
                self._session.wake.set()  # for the next round, which starts it again
            else:
                self._ended[outcome.task_id] = outcome

    # --- committing --------------------------------------------------------------------------

    def _commit(self, changes: Iterable[tuple[str, Change]]) -> None:
        """Commit one change for each of these tasks."""
        failpoint("worker.before-commit")
        report = batches.commit(self._session, [batches.Group((), self._units(changes))])
        failpoint("worker.after-commit")
        for task in report.done:
            self._tell_failure(task)
            self._drop(task)
        missing = [task for task, refusal in report.refused if _is_missing(refusal)]
        for task, refusal in report.refused:
            if not _is_missing(refusal):
                self._refused(task, refusal)
        if missing:
            self._repair(missing)
        if report.done:
            self._repairs, self._commit_at = 0, 0.0
        elif missing:
            pause = 0.1 * (2**self._repairs - 1)
            self._commit_at = time.monotonic() + min(pause, REPAIR_SECONDS)
            self._repairs = min(self._repairs + 1, 10)
        if report.unknown:
            raise ConnectionLost(f"the outcome of {len(report.unknown)} commits is unknown")

    def _tell_failure(self, task: str) -> None:
        """Log a failed attempt, once it is recorded."""
        outcome = self._ended.get(task)
        if outcome is not None and outcome.reason is not None:
            line = self._clerk.failure(self._held[task], outcome)
            log.warning("%s", line, extra=line.extra)

    def _units(self, changes: Iterable[tuple[str, Change]]) -> Iterator[batches.Unit[str]]:
        """The changes to send; a task whose next record cannot be written is set aside."""
        for task, change in changes:
            try:
                unit = change()
            except (BadRecord, PayloadTooLarge, ValueError, TypeError, OverflowError) as error:
                self._set_aside(task, f"its next record cannot be written: {error}")
            else:
                yield unit

    def _set_aside(self, task: str, why: str) -> None:
        log.error("task %s: cannot record its outcome: %s", task, why)
        self._quarantine.add(paths.assignment(self.id, task), why)
        self._drop(task)

    def _refused(self, task: str, refusal: Refusal) -> None:
        if refusal.index == 0 and refusal.code in (Code.NO_NODE, Code.BAD_VERSION):
            log.info("task %s was taken away before its outcome was recorded", task)
            self._drop(task)
        elif refusal.index == 1 and refusal.code == Code.NODE_EXISTS:
            log.warning("task %s is already at its target; keeping the existing znode", task)
            self._session.commit([Delete(paths.assignment(self.id, task))]).wait()
            self._drop(task)
        else:
            self._set_aside(task, str(refusal))

    def _repair(self, tasks: Sequence[str]) -> None:
        """Create the missing target folders of these tasks again, each once."""
        log.warning(
            "cannot record %d tasks, such as %s: a target folder is gone, creating it again",
            len(tasks),
            tasks[0],
        )
        with contextlib.suppress(NotAuthorized):  # then another process has to create it
            self._session.ensure_tree()
        owners = {
            paths.parent(paths.status(task)): self._held[task].task.owner
            for task in tasks
            if paths.is_task(task)
        }
        folders = self._session.read_each(list(owners))
        gone = [path for path, found in folders if found is None]
        ledger = records.encode_ledger(Ledger())
        units = (
            batches.Unit(path, [Create(path, ledger, owners=(owners[path],))]) for path in gone
        )
        if gone and batches.commit(self._session, [batches.Group((), units)]).unknown:
            raise ConnectionLost("the connection broke while client folders were created again")

    def _drop(self, task: str) -> None:
        """Forget a task that is no longer ours, and stop its attempt."""
        self._returning.discard(task)
        held = self._held.pop(task, None)
        if held is not None:
            self._held_bytes -= len(held.payload)
        if self._ended.pop(task, None) is None:
            self._crew.stop(task)

    # --- shutdown ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new tasks, and hand back those not started."""
        self._draining = True
        self._announcement = replace(self._announcement, state=WorkerState.DRAINING)
        self._announce()
        self.hand_back(self._crew.withdraw())

    def hand_back(self, tasks: Iterable[str]) -> None:
        """Return tasks to the queue, and stop their attempts."""
        for task in tasks:
            if task in self._held and task not in self._ended:
                self._crew.stop(task)
                self._returning.add(task)
        self._return()

    def _return(self) -> None:
        """Hand back the pending tasks, including those left by an earlier, interrupted try."""
        if self._returning and time.monotonic() >= self._commit_at:
            log.info("handing back %d tasks", len(self._returning))
            going = [self._held[task] for task in self._returning]
            self._commit((held.task.id, partial(self._clerk.hand_back, held)) for held in going)

    def hand_back_all(self) -> None:
        """Return all tasks without an outcome to the queue."""
        self._collect()
        self.hand_back([task for task in self._held if task not in self._ended])

    def leave(self) -> bool:
        """Remove this worker and its folder from the tree; False if a task arrived meanwhile.

        A folder with quarantined znodes stays behind, for `mwctl audit` to report.
        """
        leaving = Delete(paths.worker(self.id))
        if self._session.commit([leaving, Delete(self._folder.path)]).wait() is None:
            return True
        self._list()
        return self.idle and self._session.commit([leaving]).wait() is None


def _is_missing(refusal: Refusal) -> bool:
    """Whether the target folder of a task is gone."""
    return refusal.index == 1 and refusal.code == Code.NO_NODE
