"""Moments and durations on the command line."""

from __future__ import annotations

import time

import click
import pytest

from masterworker.cli.moments import Moment, duration


@pytest.mark.parametrize(
    ("text", "ago"),
    [("30s", 30), ("15m", 900), ("1h", 3_600), ("1h30m", 5_400), ("2d", 172_800), ("1.5h", 5_400)],
)
def test_how_long_ago(text: str, ago: float) -> None:
    """A duration counts back from now."""
    assert time.time() - Moment().convert(text, None, None) == pytest.approx(ago, abs=5)


@pytest.mark.parametrize(
    "text", ["2001-09-09T01:46:40Z", "2001-09-09 01:46:40", "2001-09-09T03:46:40+02:00"]
)
def test_an_iso_time(text: str) -> None:
    """Without an offset it is UTC, as all times that mwctl shows are."""
    assert Moment().convert(text, None, None) == 1_000_000_000


@pytest.mark.parametrize("text", ["", "1", "h", "1y", "-1h", "yesterday", "2001-99-09"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    """The message says what is expected."""
    with pytest.raises(click.BadParameter, match="such as 30s, 15m, 1h or 2d, or an ISO 8601 time"):
        Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.4, "0s"),
        (59, "59s"),
        (61, "1m 1s"),
        (11_520, "3h 12m"),
        (7_200, "2h"),
        (90_000, "1d 1h"),
        (86_460, "1d"),
    ],
)
def test_a_duration_in_two_units(seconds: float, text: str) -> None:
    """A clock that is wrong makes no negative duration."""
    assert duration(seconds) == text
