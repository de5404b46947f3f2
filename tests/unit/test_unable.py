"""Executors that cannot be run at present: when they are tried again, and what is announced."""

from __future__ import annotations

import pytest

from masterworker.decisions import explain
from masterworker.decisions.offering import without
from masterworker.execution.unable import FIRST, JITTER, MOST, Unable
from masterworker.words import records
from masterworker.words.errors import BadRecord
from masterworker.words.limits import MAX_EXECUTORS, MAX_HEADER, MAX_REASON
from masterworker.words.model import Task, Worker


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_to_a_minute_and_differ(chance: float) -> None:
    """Each failure doubles the pause, up to the most; chance makes it shorter or longer."""
    unable = Unable(Clock(), lambda: chance)
    factor = 1 + JITTER * (2 * chance - 1)
    pauses = [unable.failed("x", "why") / factor for _ in range(12)]
    assert pauses == pytest.approx([min(MOST, FIRST * 2**n) for n in range(12)])


def test_what_is_due_is_tried_and_what_works_is_forgotten() -> None:
    """One executor after another comes due; a try that was cut short is no failure."""
    clock = Clock()
    unable = Unable(clock, lambda: 0.5)
    unable.failed("a", "no a")
    unable.failed("b", "no b")
    unable.failed("b", "still no b")
    assert (unable.due(), unable.pause()) == ("", 1.0)
    clock.now += 1.0
    assert (unable.due(), unable.pause()) == ("a", 0.0)
    unable.postpone("a")
    assert (unable.due(), unable.pause()) == ("", 1.0)
    unable.works("a")
    assert unable.whys() == {"b": "still no b"}
    clock.now += 1.0
    assert unable.due() == "b"
    unable.works("b")
    assert not unable
    assert unable.pause() == float("inf")


def test_the_announcement_leaves_out_what_cannot_be_run() -> None:
    """It says why, in one line, and so does what explains a task that waits for it."""
    worker = Worker({"echo": True, "resize": False}, 4, 2)
    announced = without(worker, {"resize": "no\n  module 'PIL'" + "x" * 1_000})
    assert announced.executors == {"echo": True}
    assert announced.unavailable["resize"].startswith("no module 'PIL'xxx")
    assert len(announced.unavailable["resize"].encode()) <= MAX_REASON
    assert records.decode_worker(records.encode_worker(announced)) == announced
    assert without(worker, {}) == worker
    task = Task("t-1", "resize")
    why = explain.pending(task, primary="m", workers={"w-1": announced}, loads={}, now=0.0)
    assert why.startswith(
        "no worker can run executor 'resize' at present; worker w-1 reports: no m"
    )


def test_the_most_that_can_be_announced_fits_into_a_record() -> None:
    """As many executors as a worker may have, none of which can be run, each at great length."""
    names = [f"{number:03d}".ljust(64, "x") for number in range(MAX_EXECUTORS)]
    worker = Worker(dict.fromkeys(names, False), 1, 1, host="h" * 1_000, owner="o" * 500)
    announced = without(worker, dict.fromkeys(names, "ü" * 2_000))
    data = records.encode_worker(announced)
    assert len(data) < MAX_HEADER
    assert records.decode_worker(data) == announced


@pytest.mark.parametrize("unavailable", [{"No": "x"}, {"echo": 1}, {"echo": "x" * 401}])
def test_a_hostile_announcement_is_refused(unavailable: dict[str, str]) -> None:
    """Whatever is no bounded map of names to texts is no record."""
    data = records.encode_worker(Worker({}, 1, 1, unavailable=unavailable))
    with pytest.raises(BadRecord, match="unavailable"):
        records.decode_worker(data)
