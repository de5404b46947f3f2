"""Chooses a worker for each task.

A task goes to the worker with the most free slots among those that offer its executor, so that load
spreads evenly. Ties are broken by name, so the same snapshot always gives the same plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..words.model import Task, Worker, WorkerState


def can_run(worker: Worker, task: Task) -> bool:
    """Whether this worker may run this task at all, regardless of free slots."""
    if worker.book and not task.raw:
        return False
    if task.sealed and task.sealed not in worker.keys:
        return False
    return worker.state is WorkerState.READY and task.executor in worker.executors


class Load(NamedTuple):
    """A worker's number of tasks, and how many run in child processes (None if unknown)."""

    assigned: int
    in_processes: int | None


def has_room(worker: Worker, executor: str, load: Load) -> bool | None:
    """Whether a worker that offers this executor has a free slot for it; None if unknown.

    The same rule as in Room, from counts alone.
    """
    if load.assigned >= worker.slots:
        return False
    if worker.executors[executor] or load.assigned < worker.process_slots:
        return True
    return None if load.in_processes is None else load.in_processes < worker.process_slots


class Room:
    """The free slots of all workers, and how they are filled.

    Each worker has two limits: `slots` for all tasks and, within it, `process_slots` for executors
    that are not inline.
    """

    def __init__(self, workers: Mapping[str, Worker], held: Mapping[str, Iterable[Task]]) -> None:
        self._workers = workers
        self._free: dict[str, int] = {}
        self._free_processes: dict[str, int] = {}
        self._heaps: dict[tuple[str, bool], list[tuple[int, str]]] = {}
        for name, worker in workers.items():
            self._free[name] = worker.slots
            self._free_processes[name] = worker.process_slots
            for task in held.get(name, ()):
                self._occupy(name, task.executor)

    def free(self) -> int:
        """The number of free slots of all ready workers together."""
        return sum(
            max(0, free)
            for name, free in self._free.items()
            if self._workers[name].state is WorkerState.READY
        )

    def take(self, task: Task) -> str | None:
        """Choose a worker for `task` and occupy one of its slots; None if no worker has room."""
        heap = self._heap(task)
        while heap:
            negative, name = heap[0]
            room = self._room(name, task.executor)
            if room <= 0:
                heapq.heappop(heap)
            elif room != -negative:
                heapq.heapreplace(heap, (-room, name))
            else:
                self._occupy(name, task.executor)
                heapq.heapreplace(heap, (1 - room, name))
                return name
        return None

    def _heap(self, task: Task) -> list[tuple[int, str]]:
        """The workers for tasks like this one, the one with the most room first.

        Room only shrinks while a plan is made, so a stale entry is always too high, never too low.
        It is corrected when it reaches the top.
        """
        key = (task.needs, task.raw)
        heap = self._heaps.get(key)
        if heap is None:
            heap = [
                (-self._room(name, task.executor), name)
                for name, worker in self._workers.items()
                if can_run(worker, task)
            ]
            heapq.heapify(heap)
            self._heaps[key] = heap
        return heap

    def _room(self, name: str, executor: str) -> int:
        if self._workers[name].executors[executor]:
            return self._free[name]
        return min(self._free[name], self._free_processes[name])

    def _occupy(self, name: str, executor: str) -> None:
        self._free[name] -= 1
        if not self._workers[name].executors.get(executor, False):
            self._free_processes[name] -= 1
