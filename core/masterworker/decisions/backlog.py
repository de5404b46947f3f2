"""The pending tasks a primary knows of: a queue for each executor, headers only.

A listing of /tasks says which there are; their headers are read a bounded number at a time, and
payloads are never kept. So a deep backlog costs memory by the header, and a round of the primary
costs time by what it can assign, not by what waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from typing import Final, TypeVar

from ..words.model import Task
from .plan import Queue, queue_of

T = TypeVar("T")

WINDOW: Final = 250_000
"""Headers kept at the most; the names beyond are looked at again when there is room."""

QUEUE_WINDOW: Final = 50_000
"""Headers kept of one queue: one that nobody serves must not keep the others from being read."""


class Backlog:
    """What waits under /tasks, as far as it has been listed and read."""

    def __init__(self, window: int = WINDOW, queue_window: int = QUEUE_WINDOW) -> None:
        self._window = window
        self._queue_window = queue_window
        self._queues: dict[Queue, dict[str, Task]] = {}
        self._recovered: dict[Queue, dict[str, Task]] = {}
        self._queue_of: dict[str, Queue] = {}
        self._unread: dict[str, None] = {}
        self._resting: dict[Queue, dict[str, tuple[float, Task]]] = {}
        """Tasks that failed and are not due yet, with the monotonic second at which they are."""
        self._due: list[tuple[float, str]] = []
        """A heap of when they are due; what has left since then is skipped."""
        self._parked: dict[str, Queue] = {}
        """The queues of tasks whose headers were read and found no place in their queue."""

    @property
    def queues(self) -> Mapping[Queue, Iterable[Task]]:
        """Each queue's tasks, in the order in which they are to be served.

        Those that lost a worker come first: they have waited their turn before.
        """
        keys = self._recovered.keys() | self._queues.keys()
        return {
            key: chain(self._recovered.get(key, {}).values(), self._queues.get(key, {}).values())
            for key in sorted(keys)
        }

    def __len__(self) -> int:
        """How many tasks wait with their headers read."""
        return len(self._queue_of)

    @property
    def has_unread(self) -> bool:
        """Whether names are known whose headers were not read yet."""
        return bool(self._unread)

    def listed(self, names: Collection[str]) -> None:
        """Take in a listing of /tasks: forget what is gone, note what is new."""
        present = names if isinstance(names, set | frozenset) else set(names)
        for gone in [name for name in self._queue_of if name not in present]:
            self.remove(gone)
        self._parked = {name: key for name, key in self._parked.items() if name in present}
        full = {key for key in set(self._parked.values()) if self._is_full(key)}
        room = self._window - len(self._queue_of)
        fresh = (
            name
            for name in names
            if name not in self._queue_of and self._parked.get(name) not in full
        )
        self._unread = dict.fromkeys(islice(fresh, max(0, room)))

    def next_unread(self, most: int) -> list[str]:
        """Up to `most` names whose headers are to be read next; each is handed out once."""
        names = list(islice(self._unread, most))
        for name in names:
            del self._unread[name]
        return names

    def put_off(self, names: Iterable[str]) -> None:
        """Take names back whose headers could not be read yet."""
        self._unread = dict.fromkeys([*names, *self._unread])

    def add(self, task: Task, due: float | None = None) -> None:
        """Put a task whose header was read at the end of its queue, or of those recovered.

        One that is `due` only at a monotonic second to come rests until `wake`, and the others of
        its queue do not wait for it. If the queue is full, remember only where the task belongs.
        """
        self.remove(task.id)
        key = queue_of(task)
        if self._is_full(key) and not task.losses:
            self._parked[task.id] = key
            return
        self._parked.pop(task.id, None)
        self._queue_of[task.id] = key
        if due is not None:
            self._resting.setdefault(key, {})[task.id] = (due, task)
            heapq.heappush(self._due, (due, task.id))
            return
        queues = self._recovered if task.losses else self._queues
        queues.setdefault(key, {})[task.id] = task

    def wake(self, now: float) -> float | None:
        """Put the tasks that are due at monotonic second `now` into their queues.

        Returns the second at which the next one is due, None if no task rests.
        """
        while self._due:
            due, name = self._due[0]
            resting = self._resting.get(self._queue_of.get(name, ("", False)), {})
            at, task = resting.get(name, (None, None))
            if at == due and due > now:
                return due
            heapq.heappop(self._due)
            if at == due and task is not None:
                self.add(task)
        return None

    def _is_full(self, key: Queue) -> bool:
        waiting = len(self._queues.get(key, ())) + len(self._resting.get(key, ()))
        return waiting >= self._queue_window

    def remove(self, name: str) -> None:
        """Forget a task, if it is known: it was assigned, or is gone."""
        key = self._queue_of.pop(name, None)
        if key is None:
            return
        _discard(self._recovered, key, name)
        _discard(self._queues, key, name)
        _discard(self._resting, key, name)


def _discard(queues: dict[Queue, dict[str, T]], key: Queue, name: str) -> None:
    queue = queues.get(key, {})
    if queue.pop(name, None) is not None and not queue:
        del queues[key]
