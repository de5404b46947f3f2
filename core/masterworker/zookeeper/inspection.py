"""Read-only views of a cluster, for `mwctl status` and `mwctl tasks`.

A multi-read answers for all of its paths as of one moment, which locating a task requires.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from ..decisions import explain
from ..decisions.placement import can_run
from ..words import book, paths, records, sealing
from ..words.errors import (
    BadRecord,
    ConnectionLost,
    MasterworkerError,
    NotAuthorized,
    NotFinished,
    NotFound,
    SessionLost,
    TaskFailed,
)
from ..words.model import State, Status, Task
from ..words.sealing import Keys
from .loads import loads
from .operations import Found, Unreadable, Znode
from .quarantine import task_at
from .reader import Reader, decode
from .session import Session
from .tasklist import TaskList, Wanted, list_tasks
from .views import ClusterStatus, TaskView

Known = TypeVar("Known", Task, Status)


class Inspection:
    """Reads a cluster through a started session. Times are seconds since the epoch.

    Sealed data is opened with `keys`, if given.
    """

    def __init__(self, session: Session, keys: Keys | None = None) -> None:
        self._session = session
        self._keys = keys
        self._reader = Reader(session)

    # --- the cluster -------------------------------------------------------------------------

    def status(self) -> ClusterStatus:
        """The masters and workers, and the number of tasks in each state."""
        master, epoch = self._session.read([paths.MASTER, paths.EPOCH])
        names = self._reader.names(paths.MASTERS)
        masters = self._reader.decoded(
            [paths.master(name) for name in names], records.decode_master
        )
        workers = self._reader.workers()
        pending, assigned = self._counts()
        entries = self._reader.entries()
        finished = sum(
            1 if not records.is_record(entry.data) else entry.children for entry in entries.values()
        )
        return ClusterStatus(
            primary=decode(master, records.decode_master),
            epoch=epoch.version if isinstance(epoch, Znode) else 0,
            masters=tuple(sorted(masters.values(), key=lambda one: one.id)),
            workers=workers,
            assigned=assigned,
            pending=pending,
            finished=finished,
            loads=loads(self._session, workers, assigned),
        )

    def _counts(self) -> tuple[int, dict[str, int]]:
        """The number of pending tasks, and of tasks on each worker, as of one moment.

        If they were counted one after the other, a task that moves meanwhile could be missed in
        both places. Workers' folders that we may not read count as empty; `mwctl audit` reports
        them.
        """
        workers = self._reader.names(paths.ASSIGN)
        while True:
            folders = [paths.TASKS, *(paths.assignments(name) for name in workers)]
            tasks, *assigned = self._session.read(folders)
            if isinstance(tasks, Unreadable):
                raise _not_ours(paths.TASKS)
            known, workers = workers, self._reader.names(paths.ASSIGN)
            if not set(workers) - set(known):  # else a task may have gone to who came meanwhile
                return _children(tasks), dict(zip(known, map(_children, assigned), strict=True))

    def obstacle(self, executor: str, key_id: str = "") -> str:
        """Why a task for this executor, submitted now, would have to wait; empty if no obstacle is
        known. With a key's id, the task is assumed to be sealed with it."""
        primary, workers = self.primary(), self._reader.workers()
        task = Task("", executor, sealed=key_id)
        if primary and any(can_run(worker, task) for worker in workers.values()):
            return ""
        return explain.pending(task, primary=primary, workers=workers, loads={}, now=time.time())

    # --- tasks -------------------------------------------------------------------------------

    def tasks(self, wanted: Wanted, limit: int | None) -> TaskList:
        """The newest `limit` of the wanted tasks, or all of them if it is None."""
        return list_tasks(self._session, wanted, limit)

    def task(self, task: str) -> TaskView:
        """One task. Raises NotFound."""
        state, worker, found = self._find(task)
        if state is not State.DONE:
            try:
                known = task_at(paths.task(task), found)
            except BadRecord as error:
                return TaskView(task, state, "", worker, (), f"it is quarantined: {error}", 0.0)
            why = self._why_pending(known) if state is State.PENDING else self._why_there(worker)
            known = self._with_evidence(task, known)
            return TaskView(
                task,
                state,
                known.executor,
                worker,
                known.history,
                why,
                known.submitted,
                sealed=known.sealed,
            )
        try:
            status = self._with_evidence(task, book.status_in(task, found.data))
        except BadRecord as error:
            return TaskView(task, state, "", "", (), f"its status is quarantined: {error}", 0.0)
        return TaskView(
            id=task,
            state=status.state,
            executor=status.executor,
            worker=status.worker,
            history=status.history,
            why=explain.finished(status),
            submitted=status.submitted,
            started=status.started,
            ended=status.ended,
            sealed=status.sealed,
        )

    def result(self, task: str) -> bytes:
        """The result of a task that is done.

        Raises NotFound, NotFinished, TaskFailed, BadRecord; NotAuthorized or SealBroken if the
        result is sealed and the key is missing or wrong.
        """
        state, worker, found = self._find(task)
        if state is not State.DONE:
            where = f"assigned to worker {worker}" if worker else "pending"
            raise NotFinished(f"task {task} has no result yet: it is {where}")
        return self._result_in(task, found.data)

    def results(self, tasks: Sequence[str]) -> Iterator[tuple[str, bytes | MasterworkerError]]:
        """The results of many tasks, read in bulk; for each, the bytes or the error of `result`."""
        for task in tasks:
            paths.check_name(task, "task id")
        read = self._session.read_each([paths.status(task) for task in tasks])
        for task, (_, found) in zip(tasks, read, strict=True):
            try:
                if isinstance(found, Znode):
                    result = self._result_in(task, found.data)
                else:
                    result = self.result(task)
            except (ConnectionLost, SessionLost):
                raise
            except MasterworkerError as error:
                yield task, error
            else:
                yield task, result

    def _result_in(self, task: str, data: bytes) -> bytes:
        """The result in a task's status record."""
        status = self._with_evidence(task, book.status_in(task, data))
        if status.state is State.FAILED:
            reason = status.reason.value if status.reason else "failed"
            raise TaskFailed(task, reason, status.history)
        if status.sealed:
            if self._keys is None:
                raise NotAuthorized(
                    f"the result of task {task} is encrypted with key {status.sealed!r}: "
                    "pass its file with --key-file"
                )
            seal = self._keys.seal(task, status.executor, status.sealed)
            return seal.open_result(records.body(data))
        return records.body(data) if records.is_record(data) else b""

    def _with_evidence(self, task: str, known: Known) -> Known:
        """A task or a status, with its evidence opened as far as the available keys allow."""
        if not known.sealed:
            return known
        if self._keys is None or known.sealed not in self._keys.ids:
            return known._replace(history=sealing.conceal(known.history, known.sealed))
        seal = self._keys.seal(task, known.executor, known.sealed)
        return known._replace(history=seal.open_history(known.history))

    def _find(self, task: str) -> tuple[State, str, Znode]:
        """Find a task with one request for all places it can be in.

        It counts as missing only if no worker has joined meanwhile, which could hold the task.
        """
        paths.check_name(task, "task id")
        workers = self._reader.names(paths.ASSIGN)
        while True:
            place = self._look(task, workers)
            if place is not None:
                return place
            known, workers = workers, self._reader.names(paths.ASSIGN)
            if not set(workers) - set(known):
                raise NotFound(self._why_missing(task))

    def _look(self, task: str, workers: Sequence[str]) -> tuple[State, str, Znode] | None:
        """The task's place if it is pending, finished, or assigned to one of these workers."""
        places = [(paths.status(task), State.DONE, ""), (paths.task(task), State.PENDING, "")]
        places += [(paths.assignment(name, task), State.ASSIGNED, name) for name in workers]
        found = self._session.read([path for path, _, _ in places])
        for (path, state, worker), znode in zip(places, found, strict=True):
            if isinstance(znode, Unreadable):
                raise _not_ours(path)
            if znode is not None:
                return state, worker, znode
        return None

    def _why_there(self, worker: str) -> str:
        """Why an assigned task is where it is."""
        (registered,) = self._session.read([paths.worker(worker)])
        if registered is None:
            return f"worker {worker} is gone: the primary is about to recover the task"
        return f"worker {worker} has it"

    def _why_missing(self, task: str) -> str:
        if paths.is_task(task):
            client, number = paths.split_task(task)
            (found,) = self._session.read([paths.statuses(client)])
            ledger = decode(found, records.decode_ledger)
            if ledger is not None and number <= ledger.accepted:
                return f"task {task} has ended: its status was taken by its client, or has expired"
        return f"there is no task {task}: it never existed, or ended long ago"

    def _why_pending(self, task: Task) -> str:
        workers = self._reader.workers()
        able = {name: worker for name, worker in workers.items() if can_run(worker, task)}
        return explain.pending(
            task,
            primary=self.primary(),
            workers=workers,
            loads=loads(self._session, able),
            now=time.time(),
        )

    def primary(self) -> str | None:
        """The id of the primary master; None if there is none."""
        (master,) = self._session.read([paths.MASTER])
        primary = decode(master, records.decode_master)
        return primary.id if primary else None


def _not_ours(path: str) -> NotAuthorized:
    return NotAuthorized(
        f"ZooKeeper denied reading {path}: it belongs to another identity "
        "(`mwctl acl id` prints yours)"
    )


def _children(found: Found) -> int:
    return found.children if isinstance(found, Znode) else 0
