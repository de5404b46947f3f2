"""Finds out which of many tasks are gone, in a few requests that read no payloads.

A task can be pending, finished, or assigned to any worker, and it moves. All of its places are
therefore checked in one request, which answers as of one moment. It counts as gone only if no
worker has joined meanwhile, which could hold it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from ..words import limits, paths
from .session import Session

PLACES: Final = 2_000
"""Maximum number of places checked in one request, unless a single task has more."""


class Search:
    """Looks for tasks through a started session.

    The list of workers is read once, and again only to confirm that a task is missing.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workers: list[str] | None = None

    def missing(self, tasks: deque[str]) -> list[str]:
        """Check the first few of `tasks` and remove them from the queue; return the missing ones.

        The number is what one request can check. If it raises, the tasks are still in the queue.
        Raises what Reply.wait raises.
        """
        if self._workers is None:
            self._workers = self._list_workers()
        count = max(1, min(limits.BATCH_COUNT, PLACES // (len(self._workers) + 2)))
        part = list(islice(tasks, count))
        absent = self._absent(part, self._workers)
        if absent:
            absent = self._confirmed(absent)
        for _ in part:
            tasks.popleft()
        return absent

    def _confirmed(self, absent: list[str]) -> list[str]:
        """The tasks also missing on a server that is up to date, with its current workers."""
        self._session.catch_up()
        workers = self._list_workers()
        while True:
            absent = self._absent(absent, workers)
            known, workers = workers, self._list_workers()
            if not absent or not set(workers) - set(known):
                self._workers = workers
                return absent

    def _list_workers(self) -> list[str]:
        return self._session.children(paths.ASSIGN).wait() or []

    def _absent(self, tasks: Sequence[str], workers: Sequence[str]) -> list[str]:
        """The tasks that are in none of their places."""
        if not tasks:
            return []
        places = [
            place
            for task in tasks
            for place in (
                paths.status(task),
                paths.task(task),
                *(paths.assignment(worker, task) for worker in workers),
            )
        ]
        found = self._session.list_together(places)  # listed, not read, to leave out their data
        each = len(places) // len(tasks)
        return [
            task
            for index, task in enumerate(tasks)
            if all(names is None for names in found[index * each : (index + 1) * each])
        ]
