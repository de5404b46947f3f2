"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

POLL_INTERVAL = 0.005  # seconds


def eventually(condition: Callable[[], T], deadline: float = 10.0, what: str = "") -> T:
    """Return the first true value of `condition`; fail the test after `deadline` seconds.

    An assertion that fails inside `condition` counts as "not yet". `what` says what was waited
    for; the failure shows it with the last value or the last failed assertion.
    """
    until = time.monotonic() + deadline
    while True:
        last: object
        try:
            value = condition()
        except AssertionError as failed:
            last = failed
        else:
            if value:
                return value
            last = repr(value)
        if time.monotonic() > until:
            what = what or getattr(condition, "__name__", "the condition")
            pytest.fail(f"not within {deadline:g} s: {what}; at last: {last}")
        time.sleep(POLL_INTERVAL)
