"""Plans the primary's next moves from one snapshot of the tree.

Two rules apply, in this order:

1. Tasks of a worker that is gone move to another worker, return to the queue if no worker has room,
   or are given up if they have lost too many workers.
2. Pending tasks go to workers that offer their executor and have a free slot. The executors' queues
   take turns; each is served in its own order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..words.model import Task, Worker
from . import life
from .placement import Room

Queue = tuple[str, bool]
"""The properties of a task that decide which workers can run it: its needs, and if it is raw."""


def queue_of(task: Task) -> Queue:
    """The queue in which a pending task waits."""
    return task.needs, task.raw


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The primary's view of the tree when it makes a plan.

    `assigned` has every folder of /assign, including those of workers that are gone. `pending` has
    each queue's tasks in the order in which they are served.
    """

    workers: Mapping[str, Worker] = field(default_factory=dict)
    assigned: Mapping[str, Mapping[str, Task]] = field(default_factory=dict)
    pending: Mapping[Queue, Iterable[Task]] = field(default_factory=dict)

    def absent(self) -> list[str]:
        """The workers that have a folder of assignments but are not registered."""
        return sorted(name for name in self.assigned if name not in self.workers)

    def able(self) -> dict[str, Worker]:
        """The registered workers that have a folder for their assignments."""
        return {name: worker for name, worker in self.workers.items() if name in self.assigned}


def plan(snapshot: Snapshot, now: float) -> list[life.Move]:
    """The moves to carry out. `now`, in seconds since the epoch, is used only to date records."""
    held = {name: tasks.values() for name, tasks in snapshot.assigned.items()}
    room = Room(snapshot.able(), held)
    moves = [
        _recover(task, name, room, now)
        for name in snapshot.absent()
        for task in snapshot.assigned[name].values()
    ]
    moves.extend(life.assign(task, worker) for task, worker in _assign(snapshot.pending, room))
    return moves


def _recover(task: Task, worker: str, room: Room, now: float) -> life.Move:
    move = life.recover(task, worker, None, now)
    if move.event is life.Event.GIVE_UP:
        return move
    to_worker = room.take(task)
    return move if to_worker is None else life.recover(task, worker, to_worker, now)


def _assign(pending: Mapping[Queue, Iterable[Task]], room: Room) -> Iterator[tuple[Task, str]]:
    turns: deque[Iterator[Task]] = deque(iter(queue) for queue in pending.values())
    while turns:
        queue = turns.popleft()
        task = next(queue, None)
        if task is None:
            continue
        worker = room.take(task)
        if worker is not None:  # else the whole queue waits: all of its tasks have the same needs
            yield task, worker
            turns.append(queue)
