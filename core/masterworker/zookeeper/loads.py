"""Counts each worker's tasks, usually in one request.

A worker that offers both inline and other executors has two limits, and only the tasks themselves
tell how many count against each. They are read with their payloads, up to a maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ..decisions.placement import Load
from ..words import book, paths
from ..words.errors import BadRecord
from ..words.model import Worker
from .operations import Found, Znode
from .reader import Reader
from .session import Session

MOST_READ: Final = 2_000
"""Maximum number of tasks read to tell inline ones from others; beyond it the split is unknown."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""Maximum bytes read of these tasks; beyond it the split is unknown."""


def loads(
    session: Session, workers: Mapping[str, Worker], assigned: Mapping[str, int] | None = None
) -> dict[str, Load]:
    """The loads of these workers; `assigned` has their numbers of tasks, if already known."""
    if assigned is None:
        assigned = _counts(session, list(workers))
    known: dict[str, Load] = {}
    mixed: dict[str, Worker] = {}
    for name, worker in workers.items():
        count = assigned.get(name, 0)
        kinds = set(worker.executors.values())
        if count and len(kinds) > 1 and worker.slots > worker.process_slots:
            mixed[name] = worker
        else:
            known[name] = Load(count, 0 if True in kinds else count)
    return known | {name: Load(assigned[name], None) for name in mixed} | _read(session, mixed)


def _counts(session: Session, workers: list[str]) -> dict[str, int]:
    folders = session.read_each([paths.assignments(name) for name in workers])
    return {name: _children(found) for name, (_, found) in zip(workers, folders, strict=True)}


def _children(found: Found) -> int:
    return found.children if isinstance(found, Znode) else 0


def _read(session: Session, workers: Mapping[str, Worker]) -> dict[str, Load]:
    """The loads of workers whose tasks must be read, for as many workers as the limits allow."""
    folders = {
        name: [paths.assignment(name, task) for task in tasks]
        for name, tasks in _names(session, workers)
    }
    wanted: list[str] = []
    for tasks in sorted(folders.values(), key=len):
        if len(wanted) + len(tasks) > MOST_READ:
            break
        wanted += tasks
    read: Counter[str] = Counter()
    in_processes: Counter[str] = Counter()
    size = 0
    for path, found in session.read_each(wanted):
        name = path.split("/")[2]
        read[name] += 1
        in_processes[name] += _in_process(path, found, workers[name])
        size += len(found.data) if isinstance(found, Znode) else 0
        if size > MOST_BYTES:
            break
    return {
        name: Load(len(tasks), in_processes[name])
        for name, tasks in folders.items()
        if read[name] == len(tasks)
    }


def _names(session: Session, workers: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    listed = Reader(session).names_each([paths.assignments(name) for name in workers])
    return ((path.split("/")[2], names) for path, names in listed)


def _in_process(path: str, found: Found, worker: Worker) -> bool:
    """Whether an assigned task counts as one that needs a child process, as in placement."""
    if not isinstance(found, Znode):
        return False
    try:
        task = book.task_in(path.rpartition("/")[2], found.data)
    except BadRecord:
        return False
    return not worker.executors.get(task.executor, False)
