"""Lists and filters a cluster's tasks in the order of submission, newest last.

The submission time is in each task's znode, so all candidates are read in bulk. Their payloads are
discarded; a row is kept for each task to show, and only the id of every other match. Filters limit
what is read: a state or a worker selects folders, a client selects names.

A running cluster moves tasks during the read. Places are listed and read in the order of a task's
life, so a task that moves is seen twice rather than not at all. It then counts once, in its latest
place.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from ..words import book, paths
from ..words.errors import BadRecord
from ..words.model import FINISHED, State
from .operations import Found, Znode
from .reader import Reader, last
from .session import Session
from .views import TaskRow

Key = tuple[float, str, int, str]

SINCE_EVER: Final = float("-inf")
FOR_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters for the tasks to list; a task must match all that are given.

    An empty collection matches all. `since` and `until` limit the submission time, in seconds since
    the epoch.
    """

    states: Collection[State] = ()
    executors: Collection[str] = ()
    workers: Collection[str] = ()
    clients: Collection[str] = ()
    since: float = SINCE_EVER
    until: float = FOR_EVER

    def matches(self, row: TaskRow) -> bool:
        """Whether a task matches."""
        return (
            _among(row.state, self.states)
            and _among(row.executor, self.executors)
            and _among(row.worker, self.workers)
            and _among(paths.client(row.id), self.clients)
            and self.since <= row.submitted <= self.until
        )

    def any_of(self, *states: State) -> bool:
        """Whether tasks in one of these states can match."""
        return not self.states or any(state in self.states for state in states)


class TaskList:
    """The newest `limit` matching tasks, or all of them if `limit` is None.

    `rows()` returns them, oldest first; `matching` is the total number of matches.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._rows: dict[str, TaskRow] = {}
        self._oldest_first: list[Key] = []
        self._counted: set[str] = set()  # also the ids of tasks that were dropped

    @property
    def matching(self) -> int:
        """The number of matching tasks, including those dropped."""
        return len(self._counted)

    def add(self, row: TaskRow) -> None:
        """Add a matching task; tasks older than the newest `limit` are dropped.

        A task added again replaces its earlier row and is not counted again.
        """
        if row.id in self._counted:
            if row.id in self._rows:
                self._rows[row.id] = row
            return
        self._counted.add(row.id)
        key = _key(row)
        if self._limit is None:
            self._oldest_first.append(key)
        elif len(self._oldest_first) < self._limit:
            heapq.heappush(self._oldest_first, key)
        else:
            dropped = heapq.heappushpop(self._oldest_first, key)
            if dropped is key:
                return
            del self._rows[dropped[3]]
        self._rows[row.id] = row

    def rows(self) -> Iterator[TaskRow]:
        """The tasks in the order of submission."""
        for key in sorted(self._oldest_first):
            yield self._rows[key[3]]


def list_tasks(session: Session, wanted: Wanted, limit: int | None) -> TaskList:
    """Read the matching tasks. Raises what Reply.wait raises."""
    found = TaskList(limit)
    reader = Reader(session)
    for state, names in _places(reader, wanted):
        for path, znode in session.read_each(names):
            row = _row(path, state, znode)
            if row is not None and wanted.matches(row):
                found.add(row)
    return found


def _places(reader: Reader, wanted: Wanted) -> Iterator[tuple[State, list[str]]]:
    """The places of candidate tasks, in the order of a task's life."""
    if wanted.any_of(State.PENDING) and not wanted.workers:
        names = reader.names(paths.TASKS)
        yield State.PENDING, [paths.task(name) for name in names if _of_client(name, wanted)]
    if wanted.any_of(State.ASSIGNED):
        folders = [
            paths.assignments(name)
            for name in reader.names(paths.ASSIGN)
            if _among(name, wanted.workers)
        ]
        for folder, names in reader.names_each(folders):
            yield (
                State.ASSIGNED,
                [f"{folder}/{name}" for name in names if _of_client(name, wanted)],
            )
    if wanted.any_of(*FINISHED):
        finished = reader.finished(wanted.clients)
        yield State.DONE, [paths.status(name) for name in finished]


def _of_client(name: str, wanted: Wanted) -> bool:
    return not wanted.clients or paths.client(name) in wanted.clients


def _among(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted


def _key(row: TaskRow) -> Key:
    """Sort by time, then by number within one client."""
    client, number = paths.split_task(row.id) if paths.is_task(row.id) else (row.id, 0)
    return row.submitted, client, number, row.id


def _row(path: str, state: State, found: Found) -> TaskRow | None:
    """The row of a task; None if it is gone."""
    if not isinstance(found, Znode):
        return None
    name = _name(path)
    worker = path.split("/")[2] if state is State.ASSIGNED else ""
    try:
        if state is not State.DONE:
            task = book.task_in(name, found.data)
            return TaskRow(name, state, task.executor, worker, len(task.history), task.submitted)
        status = book.status_in(name, found.data)
        return TaskRow(
            name,
            status.state,
            status.executor,
            status.worker,
            len(status.history),
            status.submitted,
        )
    except BadRecord:
        return TaskRow(name, state, "", worker, 0, 0.0)


def _name(path: str) -> str:
    """The id of the task at a path."""
    _, top, *below = path.split("/")
    return "-".join(below) if f"/{top}" == paths.STATUS else last(path)
