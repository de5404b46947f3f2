"""Which of many tasks are gone, at the price of a few requests that read no payloads.

A task can be pending, finished, or with any worker, and it moves. So all of its places are asked
about in one request, which answers as of one moment; and it is gone only if no worker came
meanwhile, which could have been given it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from ..words import limits, paths
from .session import Session

PLACES: Final = 2_000
"""Places asked about in one request, unless a single task has more."""


class Search:
    """Looks for tasks through a session that is started.

    It asks for the list of workers once, and again only to confirm that something is missing.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._workers: list[str] | None = None

    def missing(self, tasks: deque[str]) -> list[str]:
        """Which of the first few of `tasks`, which are taken off the queue, are nowhere.

        They are as many as one request can ask about. If it raises, they are still in the queue.
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
        """Those that are missing on a server that has caught up, with any worker there is now."""
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
        found = self._session.list_together(places)  # not read: that would bring their data
        each = len(places) // len(tasks)
        return [
            task
            for index, task in enumerate(tasks)
            if all(names is None for names in found[index * each : (index + 1) * each])
        ]
