"""The primary's queues of pending tasks, one for each executor; only headers are kept.

A listing of /tasks gives the names. Their headers are read in batches of bounded size, and payloads
are never kept. Memory therefore grows by one header per task, and the time of a round depends on
the tasks that can be assigned, not on the length of the backlog.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice
from typing import Final

from ..words.model import Task
from .plan import Queue, queue_of

WINDOW: Final = 250_000
"""Maximum number of headers in memory; further names wait until there is room."""

QUEUE_WINDOW: Final = 50_000
"""Maximum number of headers of one queue: a queue without workers must not block the others."""

RESTING_WINDOW: Final = WINDOW // 2
"""Maximum number of headers of resting tasks, of all queues together."""


class Backlog:
    """The tasks under /tasks that have been listed and read so far."""

    def __init__(
        self,
        window: int = WINDOW,
        queue_window: int = QUEUE_WINDOW,
        resting_window: int = RESTING_WINDOW,
    ) -> None:
        self._window = window
        self._queue_window = queue_window
        self._resting_window = resting_window
        self._queues: dict[Queue, dict[str, Task]] = {}
        self._recovered: dict[Queue, dict[str, Task]] = {}
        self._queue_of: dict[str, Queue] = {}
        self._unread: dict[str, None] = {}
        self._resting: dict[str, tuple[float, Task]] = {}
        """Failed tasks that wait for their next attempt, with the monotonic second of it."""
        self._due: list[tuple[float, str]] = []
        """A heap of due times; entries of tasks that have left are skipped."""
        self._parked: dict[str, Queue | None] = {}
        """The queue of each task whose header was read while that queue was full; None for a task
        that could not rest because too many others did."""

    @property
    def queues(self) -> Mapping[Queue, Iterable[Task]]:
        """Each queue's tasks, in the order in which they are served.

        Tasks recovered from a lost worker come first: they have already waited their turn.
        """
        keys = self._recovered.keys() | self._queues.keys()
        return {
            key: chain(self._recovered.get(key, {}).values(), self._queues.get(key, {}).values())
            for key in sorted(keys)
        }

    def __len__(self) -> int:
        """The number of waiting tasks whose headers have been read."""
        return len(self._queue_of)

    @property
    def has_unread(self) -> bool:
        """Whether some listed tasks still have unread headers."""
        return bool(self._unread)

    def listed(self, names: Collection[str]) -> None:
        """Apply a new listing of /tasks: drop tasks that are gone, add new names."""
        present = names if isinstance(names, set | frozenset) else set(names)
        for gone in [name for name in self._queue_of if name not in present]:
            self.remove(gone)
        self._parked = {name: key for name, key in self._parked.items() if name in present}
        full = {key for key in set(self._parked.values()) if self._is_full(key)}
        room = self._window - len(self._queue_of)
        fresh = (
            name
            for name in names
            if name not in self._queue_of
            and not (name in self._parked and self._parked[name] in full)
        )
        self._unread = dict.fromkeys(islice(fresh, max(0, room)))

    def next_unread(self, most: int) -> list[str]:
        """Up to `most` names whose headers should be read next; each name is returned once."""
        names = list(islice(self._unread, most))
        for name in names:
            del self._unread[name]
        return names

    def put_off(self, names: Iterable[str]) -> None:
        """Return names whose headers could not be read yet."""
        self._unread = dict.fromkeys([*names, *self._unread])

    def add(self, task: Task, due: float | None = None) -> None:
        """Append a task whose header was read to its queue, or to the queue's recovered tasks.

        A task that is `due` at a later monotonic second rests until `wake`, without holding up the
        others of its queue. If there is no room for it, only its name is kept, and where it waits.
        """
        self.remove(task.id)
        key = queue_of(task)
        place = key if due is None else None
        if self._is_full(place) and not task.losses:
            self._parked[task.id] = place
            return
        self._parked.pop(task.id, None)
        self._queue_of[task.id] = key
        if due is not None:
            self._resting[task.id] = (due, task)
            heapq.heappush(self._due, (due, task.id))
            return
        queues = self._recovered if task.losses else self._queues
        queues.setdefault(key, {})[task.id] = task

    def wake(self, now: float) -> float | None:
        """Queue the resting tasks that are due at monotonic second `now`.

        Returns the second at which the next one is due, None if no task is resting.
        """
        while self._due:
            due, name = self._due[0]
            at, task = self._resting.get(name, (None, None))
            if at == due and due > now:
                return due
            heapq.heappop(self._due)
            if at == due and task is not None:
                self.add(task)
        return None

    def _is_full(self, place: Queue | None) -> bool:
        """Whether a queue has no room; None stands for the resting tasks of all queues."""
        if place is None:
            return len(self._resting) >= self._resting_window
        return len(self._queues.get(place, ())) >= self._queue_window

    def remove(self, name: str) -> None:
        """Remove a task that was assigned or is gone; unknown names are ignored."""
        key = self._queue_of.pop(name, None)
        if key is None:
            return
        _discard(self._recovered, key, name)
        _discard(self._queues, key, name)
        self._resting.pop(name, None)


def _discard(queues: dict[Queue, dict[str, Task]], key: Queue, name: str) -> None:
    queue = queues.get(key, {})
    if queue.pop(name, None) is not None and not queue:
        del queues[key]
