"""The heart: a lease that is renewed as soon as it can be."""

from __future__ import annotations

import threading
import time
from typing import cast

from masterworker.roles.heart import FENCE, Heart
from masterworker.zookeeper.session import Session
from tests.waiting import eventually

TIMEOUT = 3.0  # seconds
AWAY = 0.95  # seconds, just after a beat would have been due
ANSWER = 0.02  # seconds


class Absent:
    """A session whose connection is away at first."""

    def __init__(self) -> None:
        self.timeout = TIMEOUT
        self.lost = False
        self.wake = threading.Event()
        self.confirmed = time.monotonic()
        self._back = self.confirmed + AWAY

    @property
    def connected(self) -> bool:
        return time.monotonic() >= self._back

    def beat(self) -> None:
        sent = time.monotonic()
        threading.Timer(ANSWER, lambda: setattr(self, "confirmed", sent)).start()


def test_lease_survives_an_absence_of_a_third_of_the_timeout() -> None:
    """The beat goes out with the connection's return, and its answer counts as soon as it is in."""
    session = Absent()
    first = session.confirmed + TIMEOUT * FENCE
    renewed: list[float] = []

    def lease(until: float) -> None:
        if until > first:
            renewed.append(time.monotonic())

    heart = Heart(cast("Session", session), lease)
    heart.start()
    eventually(lambda: renewed, what="the lease is renewed")
    heart.stop()
    assert renewed[0] < first, "attempts were killed though the session had been confirmed"
