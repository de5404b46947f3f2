"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

POLL_INTERVAL = 0.005  # seconds

DEADLINE = 20.0
"""Seconds; nobody promises any. A busy machine may need them to start a process or two; a wake-up
that is lost still shows, since roles look at everything 30 s apart."""


def eventually(condition: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """Return the first true value of `condition`; fail the test after `deadline` seconds.

    It is looked at once more when they are over: this process itself may have stood still.

    An assertion that fails inside `condition` counts as "not yet". `what` says what was waited
    for; the failure shows it with the last value or the last failed assertion.
    """
    until = time.monotonic() + deadline
    while True:
        last: object
        over = time.monotonic() > until
        try:
            value = condition()
        except AssertionError as failed:
            last = failed
        else:
            if value:
                return value
            last = repr(value)
        if over:
            what = what or getattr(condition, "__name__", "the condition")
            pytest.fail(f"not within {deadline:g} s: {what}; at last: {last}")
        time.sleep(POLL_INTERVAL)
