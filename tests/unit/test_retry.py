"""The pause between a failed attempt and the next."""

from __future__ import annotations

import pytest

from masterworker.decisions import explain
from masterworker.decisions.retry import FIRST, LONGEST, pause, rest
from masterworker.words.limits import MAX_ATTEMPTS
from masterworker.words.model import Attempt, Reason, Task, Worker

ENDED = 1_700_000_000.0
FAILED = Attempt("w", Reason.FAILED, ended=ENDED)
LOST = Attempt("w", Reason.LOST, ended=ENDED)


def task(*history: Attempt, name: str = "0123456789abcdef-1") -> Task:
    return Task(name, "echo", history=history)


def test_pauses_grow_up_to_a_bound() -> None:
    """Each is between half and all of what doubles with each failure."""
    for failures in range(1, MAX_ATTEMPTS):
        most = min(LONGEST, FIRST * 2 ** (failures - 1))
        assert most / 2 <= pause(task(*[FAILED] * failures)) <= most
    assert LONGEST / 2 <= pause(task(*[FAILED] * MAX_ATTEMPTS)) <= LONGEST


def test_tasks_that_failed_together_come_back_apart() -> None:
    """The pauses of many tasks are spread over their range, and each task's is always the same."""
    tasks = [task(FAILED, name=f"0123456789abcdef-{number}") for number in range(1_000)]
    pauses = [pause(one) for one in tasks]
    tenths = {int(20 * (one / FIRST - 0.5)) for one in pauses}
    assert tenths == set(range(10))
    assert pauses == [pause(one) for one in tasks]


@pytest.mark.parametrize("history", [(), (LOST,), (LOST, LOST), (FAILED, LOST)])
def test_only_a_failure_brings_a_pause(history: tuple[Attempt, ...]) -> None:
    """A new task, or one that lost its worker, goes on at once."""
    assert pause(task(*history)) == 0.0
    assert rest(task(*history), ENDED) == 0.0


def test_losses_do_not_lengthen_the_pause() -> None:
    """Failures alone count, whatever came between them."""
    assert pause(task(FAILED, LOST, LOST, FAILED)) == pause(task(FAILED, FAILED))


@pytest.mark.parametrize(
    ("ended", "part"),
    [
        (ENDED, 1.0),
        (ENDED + 1e9, 1.0),  # the worker's clock is ahead: no longer than the pause
        (ENDED - 1e9, 0.0),
        (None, 1.0),
    ],
)
def test_no_clock_makes_the_pause_longer(ended: float | None, part: float) -> None:
    """What is left of it is between nothing and all, however wrong the worker's clock is."""
    one = task(Attempt("w", Reason.FAILED, ended=ended))
    assert rest(one, ENDED) == part * pause(one)


def test_the_pause_passes() -> None:
    """What is left gets less with time."""
    one = task(FAILED)
    assert rest(one, ENDED + 0.1) == pytest.approx(pause(one) - 0.1, abs=1e-6)
    assert rest(one, ENDED + FIRST) == 0.0


def test_why_a_resting_task_waits() -> None:
    """It says how the last attempt ended and when the next begins; then the usual reasons."""
    one = task(*[Attempt("w", Reason.TIMED_OUT, ended=ENDED)] * 5)
    workers = {"w": Worker({"echo": True}, 1, 1)}

    def why(now: float) -> str:
        return explain.pending(one, primary="m", workers=workers, loads={}, now=now)

    assert why(ENDED) == f"attempt 5 timed out; next attempt in about {round(pause(one))} s"
    assert why(ENDED + pause(one) - 0.1).endswith("in about 1 s")
    assert why(ENDED + 60.0) == "it is about to be assigned"
