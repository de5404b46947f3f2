"""Checks whether anything grew: a pure evaluation of a soak run's samples against fixed bounds.

A figure is a series over the time of the load, and two readings of an idle cluster: one before the
load and one after it. There are three checks of growth:

- *trend*: the slope over the last two thirds of the load, times their length, exceeds a bound. The
  slope is the median of the slopes of all pairs of samples (Theil 1950, Sen 1968), so a garbage
  collection or a busy minute does not decide it.
- *thirds*: the median of the last third exceeds that of the first by more than a bound.
- *return*: the idle cluster has more of something after the load than before.

For figures with an absolute limit there is also *most*: the largest sample.
"""

from __future__ import annotations

import fnmatch
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

MIB: Final = 1024 * 1024
Points = Sequence[tuple[float, float]]
"""Seconds since the start of the load, and a figure."""


@dataclass(frozen=True)
class Measured:
    """One figure of a run: its samples under load, and its values when idle."""

    name: str
    load: list[tuple[float, float]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One figure compared with one bound."""

    figure: str
    check: str
    measured: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the bound is kept."""
        return self.measured <= self.bound


@dataclass(frozen=True)
class Rule:
    """The bounds of all figures whose names match `pattern`; None is no bound.

    `share` widens `trend` and `thirds` for a figure that is large: growth up to that part of its
    median is allowed too.
    """

    pattern: str
    trend: float | None = None
    thirds: float | None = None
    share: float = 0.0
    back: float | None = None
    most: float | None = None


# 8 MiB over the two thirds of a million tasks is 12.6 bytes a task: less than any Python object, so
# whatever is kept for each task (a key, a future, a future's callback) is caught. The thirds' bound
# is wider because in the first third caches fill and Python's heap reaches its size.
MEMORY: Final = {"trend": 8 * MIB, "thirds": 24 * MIB, "share": 0.05}

RULES: Final = (
    Rule("*.rss", **MEMORY),
    Rule("*.pss", **MEMORY),
    # This worker restarts all the time, and its two slots only when they are needed: a slot has
    # two threads, a child, and four descriptors.
    Rule("restarted.threads", trend=2, thirds=2, back=2),
    Rule("restarted.descriptors", trend=4, thirds=4, back=4),
    Rule("*.threads", trend=1, thirds=1, back=1),
    Rule("*.descriptors", trend=2, thirds=2, back=2),
    Rule("*.children", trend=1, thirds=1, back=1),
    # A JVM takes what -Xmx allows (512 MiB) before it collects, and its own needs beside that:
    # the live objects after a collection are what can leak.
    # Children are replaced after 1,000 tasks each; a fresh one is smaller.
    Rule("*.childrens-memory", trend=16 * MIB, thirds=24 * MIB, share=0.25),
    Rule("zookeeper-jvm.heap", trend=8 * MIB, thirds=16 * MIB),
    Rule("zookeeper-jvm.resident", most=768 * MIB),
    # A folder for each client of the last two times to live; after the load none is left.
    Rule("zookeeper.znodes", trend=200, thirds=400, share=0.25, back=0),
    Rule("zookeeper.data", trend=256 * 1024, thirds=512 * 1024, share=0.25, back=2_048),
    Rule("zookeeper.watches", trend=20, thirds=20, share=0.1, back=2),
    Rule("zookeeper.ephemerals", trend=1, thirds=1, back=0),
    Rule("zookeeper.connections", trend=2, thirds=2, back=1),
    Rule("tasks.outstanding", trend=200, thirds=400, share=0.5),
    # Latency depends on the machine's other work, what a task costs much less: a structure that is
    # searched and grows shows here.
    Rule("*.cpu-per-1000-tasks", trend=0.1, thirds=0.1, share=0.5),
    Rule("tasks.longest", most=30),
    Rule("tasks.wrong", most=0),
    Rule("tasks.failed", most=0),
)


def slope(points: Points) -> float:
    """The median slope of all pairs of points, in units of the figure per second."""
    slopes = [
        (late - early) / (end - start)
        for (start, early), (end, late) in combinations(points, 2)
        if end > start
    ]
    return statistics.median(slopes) if slopes else 0.0


def trend(points: Points) -> float:
    """How much the figure grew over the last two thirds, by its slope there."""
    late = _part(points, 1 / 3, 1.0)
    return slope(late) * (late[-1][0] - late[0][0]) if late else 0.0


def thirds(points: Points) -> float:
    """How much larger the last third is than the first, by their medians."""
    first, last = _part(points, 0.0, 1 / 3), _part(points, 2 / 3, 1.0)
    return _level(last) - _level(first)


def judge(figures: Iterable[Measured], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """Every figure held against the bounds of the first rule that names it."""
    findings: list[Finding] = []
    for figure in figures:
        rule = next((each for each in rules if fnmatch.fnmatch(figure.name, each.pattern)), None)
        if rule is not None:
            findings += _hold(figure, rule)
    return findings


def _hold(figure: Measured, rule: Rule) -> Iterable[Finding]:
    if figure.load:
        allowance = rule.share * _level(figure.load)
        growth: Mapping[str, tuple[Callable[[Points], float], float | None]] = {
            "trend": (trend, rule.trend),
            "thirds": (thirds, rule.thirds),
        }
        for check, (measure, bound) in growth.items():
            if bound is not None:
                yield Finding(figure.name, check, measure(figure.load), max(bound, allowance))
    every = [value for _, value in figure.load] + figure.before + figure.after
    if rule.most is not None and every:
        yield Finding(figure.name, "most", max(every), rule.most)
    if rule.back is not None and figure.before and figure.after:
        rise = statistics.median(figure.after) - statistics.median(figure.before)
        yield Finding(figure.name, "return", rise, rule.back)


def _part(points: Points, begin: float, end: float) -> Points:
    """The points of a part of the time, from one share of it to another."""
    if not points:
        return []
    start, length = points[0][0], points[-1][0] - points[0][0]
    return [
        (at, value) for at, value in points if start + begin * length <= at <= start + end * length
    ]


def _level(points: Points) -> float:
    return statistics.median(value for _, value in points) if points else 0.0
