"""The line that a failed attempt leaves in the log."""

from __future__ import annotations

import pytest

from masterworker.decisions import life
from masterworker.decisions.failures import failed_attempt
from masterworker.words.limits import MAX_LOSSES
from masterworker.words.model import Attempt, Reason, Task

TASK = Task("0123456789abcdef-7", "resize", attempts=2)
LOST = Attempt("w0", Reason.LOST, "gone", ended=1.0)


def failing(task: Task, reason: Reason = Reason.FAILED) -> life.Move:
    """The move of a worker whose attempt failed after 1.5 seconds; its evidence is confidential."""
    return life.fail(task, Attempt("w1", reason, "secret", 10.0, 11.5), 1, 11.5)


def test_an_attempt_that_is_tried_again_says_which_of_how_many() -> None:
    """Task, executor, number, reason, seconds and worker, as a text and as fields."""
    line = failed_attempt(failing(TASK, Reason.TIMED_OUT))
    assert str(line) == (
        "task 0123456789abcdef-7: attempt 1 of 2 of executor resize timed out after 1.500 s "
        "on worker w1; it will be retried"
    )
    assert line.extra["fields"] == {
        "task": "0123456789abcdef-7",
        "executor": "resize",
        "worker": "w1",
        "attempt": 1,
        "attempts": 2,
        "reason": "timed_out",
        "seconds": 1.5,
        "final": False,
    }


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.LOST])
def test_the_last_attempt_says_that_it_is_the_last(reason: Reason) -> None:
    """Lost workers do not count as attempts, and no evidence of the attempt is in the line."""
    history = (LOST, Attempt("w0", Reason.FAILED))
    line = failed_attempt(failing(TASK._replace(history=history), reason))
    assert (line.attempt, line.attempts, line.final) == (2, 2, True)
    assert str(line).endswith("the task has failed for good")
    assert "secret" not in str(line) + str(line.extra)


def test_the_executor_grants_what_the_task_does_not_say() -> None:
    """A task without attempts of its own has those of its executor."""
    task = TASK._replace(attempts=None)
    attempt = Attempt("w1", Reason.FAILED)
    line = failed_attempt(life.fail(task, attempt, 3, 0.0), 3)
    assert (line.attempt, line.attempts, line.seconds, line.final) == (1, 3, None, False)


@pytest.mark.parametrize(
    ("losses", "to_worker", "follows"),
    [
        (0, None, "it is back in the queue"),
        (1, "w2", "it moves to worker w2"),
        (MAX_LOSSES - 1, "w2", "the task has failed for good"),
    ],
)
def test_a_loss_is_counted_among_losses(losses: int, to_worker: str | None, follows: str) -> None:
    """The primary's line for a task of a lost worker says how many workers it has lost."""
    task = TASK._replace(history=(LOST,) * losses)
    line = failed_attempt(life.recover(task, "w1", to_worker, 5.0))
    assert (line.reason, line.attempt, line.attempts) == (Reason.LOST, losses + 1, MAX_LOSSES)
    assert str(line).endswith(f"was lost on worker w1; {follows}")
