"""Waiting for a condition instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

SHORTEST, LONGEST, PART = 0.005, 0.05, 0.05
"""The next look comes after this part of the time waited so far, within these bounds in seconds. A
look can cost several requests: a test that waits for seconds, for the end of a session, must not
take the processors from the roles that it waits for."""

DEADLINE = 20.0
"""Seconds; nobody promises any. A busy machine may need them to start a process or two; a wake-up
that is lost still shows, since roles look at everything 30 s apart."""


def eventually(condition: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """Return the first true value of `condition`; fail the test after `deadline` seconds.

    It is looked at once more when they are over: this process itself may have stood still.

    An assertion that fails inside `condition` counts as "not yet". `what` says what was waited
    for; the failure shows it with the last value or the last failed assertion.
    """
    began = time.monotonic()
    until = began + deadline
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
        time.sleep(min(max(SHORTEST, PART * (time.monotonic() - began)), LONGEST))
