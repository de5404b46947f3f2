"""The pending tasks a primary knows of: a queue for each executor, headers only.

A listing of /tasks says which there are; their headers are read a bounded number at a time, and
payloads are never kept. So a deep backlog costs memory by the header, and a round of the primary
costs time by what it can assign, not by what waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from typing import Final

from ..words.model import Task
from .plan import Queue, queue_of

WINDOW: Final = 250_000
"""Headers kept at the most; the names beyond are looked at again when there is room."""


class Backlog:
    """What waits under /tasks, as far as it has been listed and read."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._queues: dict[Queue, dict[str, Task]] = {}
        self._recovered: dict[Queue, dict[str, Task]] = {}
        self._queue_of: dict[str, Queue] = {}
        self._unread: dict[str, None] = {}

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
        room = self._window - len(self._queue_of)
        fresh = (name for name in names if name not in self._queue_of)
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

    def add(self, task: Task) -> None:
        """Put a task whose header was read at the end of its queue, or of those recovered."""
        self.remove(task.id)
        key = queue_of(task)
        queues = self._recovered if task.losses else self._queues
        queues.setdefault(key, {})[task.id] = task
        self._queue_of[task.id] = key

    def remove(self, name: str) -> None:
        """Forget a task, if it is known: it was assigned, or is gone."""
        key = self._queue_of.pop(name, None)
        if key is None:
            return
        for queues in (self._recovered, self._queues):
            queue = queues.get(key, {})
            if queue.pop(name, None) is not None and not queue:
                del queues[key]
