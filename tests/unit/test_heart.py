"""The heart: a lease that is renewed as soon as it can be."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from masterworker.roles import heart
from masterworker.roles.heart import FENCE, Heart
from masterworker.zookeeper.session import Session

TIMEOUT = 3.0  # seconds
AWAY = 0.95  # seconds, just after a beat would have been due
ANSWER = 0.02  # seconds


class Clock:
    """The modules `time` and `threading`: time passes only while the heart rests, 3 s in all."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def Event(self) -> Clock:  # noqa: N802
        return self

    def Thread(self, target: Any, **_: Any) -> Clock:  # noqa: N802
        self.start = target
        return self

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now > TIMEOUT


class Absent:
    """A session whose connection is away at first."""

    def __init__(self, clock: Clock) -> None:
        self.timeout = TIMEOUT
        self.lost = False
        self.wake = threading.Event()
        self._clock = clock
        self._sent: list[float] = []

    @property
    def connected(self) -> bool:
        return self._clock.now >= AWAY

    @property
    def confirmed(self) -> float:
        """When the last heartbeat was sent whose answer is there by now."""
        return max([0.0, *(sent for sent in self._sent if sent + ANSWER <= self._clock.now)])

    def beat(self) -> None:
        self._sent.append(self._clock.now)


def test_lease_survives_an_absence_of_a_third_of_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The beat goes out with the connection's return, and its answer counts as soon as it is in."""
    clock = Clock()
    monkeypatch.setattr(heart, "time", clock)
    monkeypatch.setattr(heart, "threading", clock)
    renewed: list[float] = []

    def lease(until: float) -> None:
        if until > TIMEOUT * FENCE:
            renewed.append(clock.now)

    Heart(cast("Session", Absent(clock)), lease).start()
    assert renewed, "the lease was never renewed"
    assert renewed[0] < TIMEOUT * FENCE, "attempts were killed though the session was confirmed"
