"""Which executors cannot be run at present, why, and when each is tried again.

The pauses grow from a second to a minute, with some jitter, so that many workers with one trouble
do not try in step. It has no lock of its own: whoever uses it from several threads holds one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST: Final = 1.0
"""Seconds from the first failure to the second try, more or less."""

MOST: Final = 60.0
"""The most seconds between two tries, more or less."""

JITTER: Final = 0.25
"""The part by which a pause may be shorter or longer."""


@dataclass(slots=True)
class _Trouble:
    why: str
    failures: int
    due: float


class Unable:
    """The executors that cannot be run. `clock` is in seconds, `chance` between 0 and 1."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._troubles: dict[str, _Trouble] = {}

    def __contains__(self, executor: str) -> bool:
        return executor in self._troubles

    def __bool__(self) -> bool:
        return bool(self._troubles)

    def whys(self) -> dict[str, str]:
        """The reason for each."""
        return {name: trouble.why for name, trouble in self._troubles.items()}

    def failed(self, executor: str, why: str) -> float:
        """It could not be run, for this reason; returns the seconds until the next try."""
        trouble = self._troubles.get(executor)
        failures = trouble.failures + 1 if trouble else 1
        pause = min(MOST, FIRST * 2.0 ** min(failures - 1, 10))
        pause *= 1 + JITTER * (2 * self._chance() - 1)
        self._troubles[executor] = _Trouble(why, failures, self._clock() + pause)
        return pause

    def postpone(self, executor: str) -> None:
        """A try was cut short, which says nothing: another one follows after the first pause."""
        self._troubles[executor].due = self._clock() + FIRST

    def works(self, executor: str) -> None:
        """It can be run again."""
        self._troubles.pop(executor, None)

    def due(self) -> str:
        """An executor that is to be tried now; empty if there is none."""
        now = self._clock()
        return next((name for name, one in self._troubles.items() if one.due <= now), "")

    def pause(self) -> float:
        """Seconds until the next try."""
        soonest = min((one.due for one in self._troubles.values()), default=float("inf"))
        return max(0.0, soonest - self._clock())
