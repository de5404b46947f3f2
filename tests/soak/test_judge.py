"""The evaluation of a soak run: leaks are found, and noise alone is not reported."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from .judge import MIB, RULES, Measured, Rule, judge, slope, thirds, trend
from .plots import chart, nice
from .run import LOAD, Sample, measured

LENGTH = 2_400
"""Seconds of the long run."""

MEMORY = (Rule("*.rss", trend=8 * MIB, thirds=24 * MIB, share=0.05),)


def series(value: Callable[[float], float]) -> list[tuple[float, float]]:
    """A figure sampled every 15 s."""
    return [(float(at), value(at)) for at in range(0, LENGTH, 15)]


def verdict(value: Callable[[float], float], name: str = "master-1.rss") -> dict[str, bool]:
    """Which checks of a memory figure are passed."""
    return {found.check: found.ok for found in judge([Measured(name, series(value))], MEMORY)}


def test_leak_of_a_few_bytes_a_task_is_caught() -> None:
    """32 bytes for each of 417 tasks a second, under noise of 2 MiB, are over the bound."""
    noise = random.Random(1)  # noqa: S311 - noise, not a secret
    leaking = verdict(lambda at: 60 * MIB + 417 * 32 * at + noise.gauss(0, 2 * MIB))
    assert leaking == {"trend": False, "thirds": True}


def test_steps_are_caught() -> None:
    """A leak that shows only when the allocator asks for more, four times in the run."""
    assert not verdict(lambda at: (60 + 10 * (at // 500)) * MIB)["trend"]


@pytest.mark.parametrize("seed", range(5))
def test_flat_noise_is_passed(seed: int) -> None:
    """Noise as large as twice the bound, with wild outliers, is no growth."""
    noise = random.Random(seed)  # noqa: S311 - noise, not a secret

    def noisy(_at: float) -> float:
        outlier = 500 * MIB if noise.random() < 0.02 else 0
        return 60 * MIB + noise.gauss(0, 16 * MIB) + outlier

    assert verdict(noisy) == {"trend": True, "thirds": True}


def test_sawtooth_is_passed() -> None:
    """What is collected every minute goes up and down and does not grow."""
    assert verdict(lambda at: (60 + at % 60) * MIB) == {"trend": True, "thirds": True}


def test_warm_up_is_no_leak() -> None:
    """Growth that ends within the first tenth of the run is no trend."""
    assert verdict(lambda at: (40 + 20 * min(1.0, at / 240)) * MIB)["trend"]


def test_growth_of_a_large_figure_may_be_a_share_of_it() -> None:
    """4 % of a gigabyte pass where 5 % are allowed, and 10 % do not."""
    assert verdict(lambda at: 1024 * MIB * (1 + 0.04 * at / LENGTH))["trend"]
    assert not verdict(lambda at: 1024 * MIB * (1 + 0.10 * at / LENGTH))["trend"]


def test_what_does_not_come_back_is_caught() -> None:
    """One znode more than before, however flat the load was; one watch more is within its slack."""
    left = Measured("zookeeper.znodes", before=[13, 13, 13], after=[14, 14, 14])
    watch = Measured("zookeeper.watches", before=[13, 13, 13], after=[14, 14, 14])
    back = {found.figure: found.ok for found in judge([left, watch]) if found.check == "return"}
    assert back == {"zookeeper.znodes": False, "zookeeper.watches": True}


def test_one_wrong_result_is_too_much() -> None:
    """No share and no trend for results that are not what they must be."""
    [found] = judge([Measured("tasks.wrong", [(0, 0), (5, 1)])])
    assert (found.check, found.ok) == ("most", False)


def test_cost_of_a_task_is_between_two_samples() -> None:
    """CPU seconds by the tasks done meanwhile; none for a process that was restarted."""
    counts = [(1.0, 0), (3.0, 1_000), (0.5, 2_000), (1.0, 2_500)]
    samples = [
        Sample(at, LOAD, {"worker.cpu": cpu, "tasks.done": done})
        for at, (cpu, done) in enumerate(counts)
    ]
    by_name = {figure.name: figure.load for figure in measured(samples)}
    assert by_name["worker.cpu-per-1000-tasks"] == [(1, 2.0), (3, 1.0)]


def test_first_rule_that_names_a_figure_holds() -> None:
    """The worker that is restarted has bounds of its own, before the general ones."""
    flat = [(float(at), 9.0) for at in range(60)]
    bounds = {
        name: {found.bound for found in judge([Measured(name, flat)], RULES)}
        for name in ("restarted.threads", "worker-1.threads")
    }
    assert bounds == {"restarted.threads": {2}, "worker-1.threads": {1}}


def test_measures_of_few_points() -> None:
    """A run too short for a slope has none, and nothing breaks."""
    assert (slope([]), trend([]), thirds([])) == (0, 0, 0)
    assert (slope([(0, 5)]), trend([(0, 5)]), thirds([(0, 5)])) == (0, 0, 0)
    assert slope([(0, 1), (2, 5)]) == 2


def test_charts_escape_names_and_have_round_axes() -> None:
    """A chart is XML whatever its series are called, and its ticks are round numbers."""
    drawn = chart("a < b", "MiB", {"<script>": [(0, 1), (60, 3)]})
    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn
    memory = chart("memory", "MiB", {"worker": [(0, 1), (41.6 * 60, 47)]})
    shown = re.findall(r">([\d.]+(?: min)?)</text>", memory)
    assert shown == ["0", "10", "20", "30", "40", "50"] + [
        f"{minute} min" for minute in (0, 10, 20, 30, 40)
    ]
    assert [nice(value) for value in (0, 0.3, 1, 1.1, 49, 51)] == [1, 0.5, 1, 2, 50, 100]
