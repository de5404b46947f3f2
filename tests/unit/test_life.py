"""A task's life: the table of its transitions, and the moves that carry them out."""

from __future__ import annotations

import itertools

import pytest

from masterworker.decisions import life
from masterworker.decisions.life import TRANSITIONS, Event, Role
from masterworker.words.errors import IllegalTransition
from masterworker.words.limits import MAX_LOSSES
from masterworker.words.model import FINISHED, Attempt, Reason, State, Task

TASK = Task("0123456789abcdef-7", "echo", submitted=1.0)
FAILURE = Attempt("w", Reason.CRASHED, "exit code 1", 2.0, 3.0)
LOSS = Attempt("gone", Reason.LOST)


def reachable(start: State) -> set[State]:
    """The states that lie ahead of `start`, however many steps away."""
    found: set[State] = set()
    border = {start}
    while border:
        border = {to for (state, _), (to, _) in TRANSITIONS.items() if state in border} - found
        found |= border
    return found


# --- the table -------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_the_table_is_the_whole_law(state: State, event: Event) -> None:
    """What the table has leads where it says; everything else raises, naming state and event."""
    if (state, event) in TRANSITIONS:
        assert life.follow(state, event) is TRANSITIONS[state, event].to
    else:
        with pytest.raises(IllegalTransition, match=f"{state} cannot {event}"):
            life.follow(state, event)


def test_every_state_is_reached_from_new() -> None:
    """No state stands apart, and nothing leads back to the beginning."""
    assert reachable(State.NEW) == set(State) - {State.NEW}


@pytest.mark.parametrize("state", [*FINISHED, State.TAKEN, State.EXPIRED])
def test_a_finished_task_never_runs_again(state: State) -> None:
    """From a recorded status no path leads back to a queue or a worker."""
    assert not reachable(state) & {State.PENDING, State.ASSIGNED}


@pytest.mark.parametrize("state", [*FINISHED])
def test_a_recorded_outcome_does_not_change(state: State) -> None:
    """A status is recorded once: it is never replaced by another."""
    assert not reachable(state) & set(FINISHED)


@pytest.mark.parametrize("state", [State.NEW, State.PENDING, State.ASSIGNED])
def test_every_task_can_come_to_an_end(state: State) -> None:
    """Wherever a task is, a status can still be reached."""
    assert set(FINISHED) <= reachable(state)


@pytest.mark.parametrize("event", list(Event))
def test_every_event_has_one_role(event: Event) -> None:
    """Each event occurs in the table, and one role alone brings it about."""
    roles = {by for (_, that), (_, by) in TRANSITIONS.items() if that is event}
    assert len(roles) == 1


def test_only_workers_record_what_an_attempt_came_to() -> None:
    """`done` has one source: the worker that holds the assignment."""
    ways = {key: by for key, (to, by) in TRANSITIONS.items() if to is State.DONE}
    assert ways == {(State.ASSIGNED, Event.COMPLETE): Role.WORKER}


@pytest.mark.parametrize("state", list(State))
def test_a_state_says_where_the_znode_lies(state: State) -> None:
    """Each state has one place, and the states without a znode have none."""
    places = {
        State.PENDING: f"/tasks/{TASK.id}",
        State.ASSIGNED: f"/assign/w/{TASK.id}",
        State.DONE: "/status/0123456789abcdef/7",
        State.FAILED: "/status/0123456789abcdef/7",
    }
    assert life.place(state, TASK.id, "w") == places.get(state)


# --- the moves -------------------------------------------------------------------------------


def test_assigning_takes_the_record_as_it_is() -> None:
    """A pending task goes to its worker byte for byte."""
    move = life.assign(TASK, "w")
    assert (move.source, move.target) == (f"/tasks/{TASK.id}", f"/assign/w/{TASK.id}")
    assert (move.worker, move.to_worker) == ("", "w")
    assert move.same_record
    assert move.task is TASK


def test_a_completed_task_keeps_its_evidence() -> None:
    """The status says who ran it, when, and which attempts failed before."""
    task = Task(TASK.id, "echo", 1.0, history=(FAILURE,))
    move = life.complete(task, "w", 4.0, 5.0)
    assert move.event is Event.COMPLETE
    assert move.target == "/status/0123456789abcdef/7"
    assert move.status is not None
    assert move.status.state is State.DONE
    assert (move.status.worker, move.status.submitted) == ("w", 1.0)
    assert (move.status.started, move.status.ended) == (4.0, 5.0)
    assert move.status.history == (FAILURE,)
    assert move.status.reason is None


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_task_is_retried_until_its_attempts_are_used_up(attempts: int) -> None:
    """With n attempts, n-1 failures lead back to the queue and the n-th fails the task."""
    task = Task(TASK.id, "echo", attempts=attempts)
    events = []
    for _ in range(attempts):
        move = life.fail(task, FAILURE, default_attempts=99, now=9.0)
        events.append(move.event)
        task = move.task
    assert events == [Event.RETRY] * (attempts - 1) + [Event.FAIL]
    assert move.status is not None
    assert move.status.reason is Reason.CRASHED
    assert move.status.ended == 9.0
    assert move.status.history == (FAILURE,) * attempts


def test_the_executor_says_how_many_attempts_if_the_task_does_not() -> None:
    """The executor's number is a default, and the task's own goes before it."""
    assert life.fail(TASK, FAILURE, 1, 9.0).event is Event.FAIL
    assert life.fail(TASK, FAILURE, 2, 9.0).event is Event.RETRY
    own = Task(TASK.id, "echo", attempts=1)
    assert life.fail(own, FAILURE, 2, 9.0).event is Event.FAIL


def test_lost_workers_do_not_use_up_attempts() -> None:
    """A lost worker is not the task's failure: what counts is kept apart."""
    task = Task(TASK.id, "echo", attempts=2, history=(LOSS, LOSS, LOSS))
    move = life.fail(task, FAILURE, 1, 9.0)
    assert move.event is Event.RETRY
    assert (move.task.losses, move.task.failures) == (3, 1)


def test_a_task_that_loses_worker_after_worker_is_given_up() -> None:
    """MAX_LOSSES-1 losses are survived; with the next the task fails as `lost`."""
    task = TASK
    for number in range(1, MAX_LOSSES):
        move = life.recover(task, f"w{number}", "next", 9.0)
        assert move.event is Event.MOVE
        assert move.target == f"/assign/next/{TASK.id}"
        task = move.task
        assert task.losses == number
    move = life.recover(task, "last", "next", 9.0)
    assert move.event is Event.GIVE_UP
    assert move.to_worker == ""
    assert move.status is not None
    assert (move.status.state, move.status.reason) == (State.FAILED, Reason.LOST)
    assert [attempt.worker for attempt in move.status.history] == ["w1", "w2", "w3", "w4", "last"]


def test_a_task_nobody_has_room_for_goes_back_into_the_queue() -> None:
    """Without another worker, recovery leads to /tasks, with the loss written down."""
    move = life.recover(TASK, "gone", None, 9.0)
    assert move.event is Event.RECOVER
    assert move.target == f"/tasks/{TASK.id}"
    assert not move.same_record
    (attempt,) = move.task.history
    assert (attempt.worker, attempt.reason, attempt.ended) == ("gone", Reason.LOST, 9.0)
    assert attempt.started is None


def test_handing_back_never_counts() -> None:
    """A worker that leaves in order puts the task back as it was, as often as it likes."""
    task = TASK
    for _ in range(3 * MAX_LOSSES):
        move = life.hand_back(task, "w")
        assert move.event is Event.HAND_BACK
        assert move.target == f"/tasks/{TASK.id}"
        assert move.same_record
        task = move.task
    assert task == TASK
