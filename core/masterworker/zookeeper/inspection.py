"""Looking at a cluster from outside, without ever writing: what `status` and `tasks` show.

A multi-read answers for all its paths as of one moment, which is what "where is this task" needs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..decisions import explain
from ..words import book, paths, records, sealing
from ..words.errors import BadRecord, NotAuthorized, NotFound, TaskFailed
from ..words.model import Attempt, Master, State, Status, Task, Worker, WorkerState
from ..words.sealing import Keys
from .operations import Found, Unreadable, Znode
from .quarantine import task_at
from .reader import Reader, decode, last
from .session import Session

Known = TypeVar("Known", Task, Status)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Who is there, and how many tasks are where; what is quarantined there counts too."""

    primary: Master | None
    epoch: int
    masters: tuple[Master, ...]
    workers: Mapping[str, Worker]
    assigned: Mapping[str, int]
    pending: int
    finished: int

    def to_dict(self) -> dict[str, Any]:
        """The status as `mwctl status -o json` prints it."""
        primary = self.primary
        return {
            "primary": None if primary is None else _master_row(primary) | {"epoch": self.epoch},
            "masters": [_master_row(master) for master in self.masters],
            "workers": [
                {
                    "id": name,
                    "host": worker.host,
                    "pid": worker.pid,
                    "state": worker.state.value,
                    "slots": worker.slots,
                    "assigned": self.assigned.get(name, 0),
                    "executors": sorted(worker.executors),
                    "keys": list(worker.keys),
                }
                for name, worker in sorted(self.workers.items())
            ],
            "tasks": {
                "pending": self.pending,
                "assigned": sum(self.assigned.values()),
                "finished": self.finished,
            },
        }


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task in a list. `attempts` is how many attempts have ended without a result so far."""

    id: str
    state: State
    executor: str
    worker: str
    attempts: int
    submitted: float


@dataclass(frozen=True, slots=True)
class TaskView:
    """All there is to know of one task."""

    id: str
    state: State
    executor: str
    worker: str
    history: tuple[Attempt, ...]
    why: str
    submitted: float
    started: float | None = None
    ended: float | None = None
    sealed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The task as `mwctl tasks show -o json` prints it."""
        return {
            "id": self.id,
            "state": self.state.value,
            "executor": self.executor,
            "worker": self.worker or None,
            "attempts": [
                {
                    "worker": attempt.worker,
                    "reason": attempt.reason.value,
                    "detail": attempt.detail,
                    "started": attempt.started,
                    "ended": attempt.ended,
                }
                for attempt in self.history
            ],
            "why": self.why,
            "submitted": self.submitted,
            "started": self.started,
            "ended": self.ended,
            "sealed": self.sealed or None,
        }


class Inspection:
    """Reads a cluster through a session that is started. Times are seconds since the epoch.

    What is sealed is opened with `keys`, if they are given.
    """

    def __init__(self, session: Session, keys: Keys | None = None) -> None:
        self._session = session
        self._keys = keys
        self._reader = Reader(session)

    # --- the cluster -------------------------------------------------------------------------

    def status(self) -> ClusterStatus:
        """Who is there, and how many tasks are where."""
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
        )

    def _counts(self) -> tuple[int, dict[str, int]]:
        """How many tasks are pending, and how many each worker has, as of one moment.

        Counted one after the other, a task that moves meanwhile would be in neither place. Folders
        of workers that we may not read count as empty; `mwctl audit` reports them.
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

    def offered(self, key_id: str = "") -> set[str]:
        """The executors that ready workers offer now; with a key's id, for tasks sealed with it."""
        return {
            name
            for worker in self._reader.workers().values()
            if worker.state is WorkerState.READY and (not key_id or key_id in worker.keys)
            for name in worker.executors
        }

    # --- tasks -------------------------------------------------------------------------------

    def tasks(self, limit: int) -> Iterator[TaskRow]:
        """Up to `limit` tasks: pending, then assigned, then finished ones."""
        wanted: list[tuple[str, State]] = []
        wanted += [(paths.task(name), State.PENDING) for name in self._reader.names(paths.TASKS)]
        for worker, names in self._reader.assigned().items():
            wanted += [(paths.assignment(worker, name), State.ASSIGNED) for name in sorted(names)]
        wanted += [(paths.status(name), State.DONE) for name in sorted(self._reader.finished())]
        del wanted[limit:]
        states = dict(wanted)
        for path, found in self._session.read_each(list(states)):
            row = _row(path, states[path], found)
            if row is not None:
                yield row

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
            status = self._with_evidence(task, _status(task, found.data))
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

        Raises NotFound, TaskFailed, BadRecord; NotAuthorized or SealBroken if it is sealed and the
        key is missing or another.
        """
        state, worker, found = self._find(task)
        if state is not State.DONE:
            where = f"assigned to worker {worker}" if worker else "pending"
            raise NotFound(f"task {task} has no result yet: it is {where}")
        status = self._with_evidence(task, _status(task, found.data))
        if status.state is State.FAILED:
            reason = status.reason.value if status.reason else "failed"
            raise TaskFailed(task, reason, status.history)
        if status.sealed:
            if self._keys is None:
                raise NotAuthorized(
                    f"the result of task {task} is sealed with key {status.sealed!r}: "
                    "name its file by --key-file"
                )
            seal = self._keys.seal(task, status.executor, status.sealed)
            return seal.open_result(records.body(found.data))
        return records.body(found.data) if records.is_record(found.data) else b""

    def _with_evidence(self, task: str, known: Known) -> Known:
        """A task or a status with its evidence as the keys at hand let it be seen."""
        if not known.sealed:
            return known
        if self._keys is None or known.sealed not in self._keys.ids:
            return known._replace(history=sealing.conceal(known.history, known.sealed))
        seal = self._keys.seal(task, known.executor, known.sealed)
        return known._replace(history=seal.open_history(known.history))

    def _find(self, task: str) -> tuple[State, str, Znode]:
        """Where a task lies, by one request for all the places it can be in.

        It is missing only if no worker came meanwhile, which could have been given the task.
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
        """Where a task lies, if it is pending, finished, or assigned to one of these workers."""
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
                return f"task {task} has ended: its status was handed over, or has expired"
        return f"there is no task {task}: it never was, or ended long ago"

    def _understood(self, names: list[str]) -> Iterator[Task]:
        for path, found in self._session.read_each(names):
            task = decode(found, functools.partial(book.task_in, last(path)))
            if task is not None:
                yield task

    def _why_pending(self, task: Task) -> str:
        (master,) = self._session.read([paths.MASTER])
        primary = decode(master, records.decode_master)
        held: dict[str, list[Task]] = {}
        for worker, names in self._reader.assigned().items():
            tasks = [paths.assignment(worker, name) for name in names]
            held[worker] = list(self._understood(tasks))
        return explain.pending(
            task,
            primary=primary.id if primary else None,
            workers=self._reader.workers(),
            held=held,
            now=time.time(),
        )


def _not_ours(path: str) -> NotAuthorized:
    return NotAuthorized(f"ZooKeeper does not let us read {path}: it is not ours")


def _children(found: Found) -> int:
    return found.children if isinstance(found, Znode) else 0


def _status(task: str, data: bytes) -> Status:
    """A status, also the plain one of a book client's task."""
    if records.is_record(data) or paths.is_task(task):
        return records.decode_status(data)
    done = book.DONE in data
    return Status(State.DONE if done else State.FAILED, book.EXECUTOR)


def _row(path: str, state: State, found: Found) -> TaskRow | None:
    if not isinstance(found, Znode):
        return None
    try:
        if state is State.DONE:
            client = path.split("/")[2]
            name = last(path) if client == last(path) else f"{client}-{last(path)}"
            status = _status(name, found.data)
            return TaskRow(
                name,
                status.state,
                status.executor,
                status.worker,
                len(status.history),
                status.submitted,
            )
        task = book.task_in(last(path), found.data)
    except BadRecord:
        return TaskRow(last(path), state, "", "", 0, 0.0)
    worker = path.split("/")[2] if state is State.ASSIGNED else ""
    return TaskRow(task.id, state, task.executor, worker, len(task.history), task.submitted)


def _master_row(master: Master) -> dict[str, Any]:
    return {"id": master.id, "host": master.host, "pid": master.pid}
