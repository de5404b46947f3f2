"""Tracks the unavailable executors: the reason for each, and when to try again.

The pauses grow from a second to a minute, with some jitter, so that workers with the same problem
do not retry in step. It has no lock: callers on several threads must hold one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST: Final = 1.0
"""Approximate seconds between the first failure and the second try."""

MOST: Final = 60.0
"""Approximate maximum of seconds between two tries."""

JITTER: Final = 0.25
"""The fraction by which a pause can be shorter or longer."""


@dataclass(slots=True)
class _Trouble:
    why: str
    failures: int
    due: float


class Unable:
    """The unavailable executors. `clock` is in seconds, `chance` between 0 and 1."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._troubles: dict[str, _Trouble] = {}

    def __bool__(self) -> bool:
        return bool(self._troubles)

    def whys(self) -> dict[str, str]:
        """The reason for each unavailable executor."""
        return {name: trouble.why for name, trouble in self._troubles.items()}

    def failed(self, executor: str, why: str) -> float:
        """Record that an executor failed, and why; return the seconds until the next try."""
        trouble = self._troubles.get(executor)
        failures = trouble.failures + 1 if trouble else 1
        pause = min(MOST, FIRST * 2.0 ** min(failures - 1, 10))
        pause *= 1 + JITTER * (2 * self._chance() - 1)
        self._troubles[executor] = _Trouble(why, failures, self._clock() + pause)
        return pause

    def postpone(self, executor: str) -> None:
        """Try again after the first pause: this try was interrupted and says nothing."""
        if trouble := self._troubles.get(executor):
            trouble.due = self._clock() + FIRST

    def works(self, executor: str) -> None:
        """Record that an executor is available again."""
        self._troubles.pop(executor, None)

    def due(self) -> str:
        """An executor to try now; empty if there is none."""
        now = self._clock()
        return next((name for name, one in self._troubles.items() if one.due <= now), "")

    def pause(self) -> float:
        """Seconds until the next try."""
        soonest = min((one.due for one in self._troubles.values()), default=float("inf"))
        return max(0.0, soonest - self._clock())
