"""Human-readable points in time and durations."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any, Final

import click

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class Moment(click.types.FloatParamType):
    """A point in time, given as its age (`30s`, `15m`, `1h30m`, `2d`) or as an ISO 8601 time.

    An ISO time without an offset is in UTC. The value is in seconds since the epoch.
    """

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        if _DURATION.fullmatch(value):
            ago = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
            return time.time() - ago
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r}: expected an age, such as 30s, 15m, 1h or 2d, or an ISO 8601 time, "
                "such as 2026-03-01T12:00Z",
                param,
                ctx,
            )


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as `3h 12m` or `45s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or parts:
            parts.append(f"{number}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"
