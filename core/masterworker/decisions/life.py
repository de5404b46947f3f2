"""A task's life cycle: one table of all transitions, and the moves that carry them out.

    new --> pending --> assigned --> done | failed --> taken | expired

A state determines the path of the task's znode, so a transition is a move from one path to another.
A `Move` describes that as data. Every caller that carries it out deletes the source and creates the
target in one `multi`, which keeps every task in exactly one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from ..words import paths
from ..words.errors import IllegalTransition
from ..words.limits import MAX_LOSSES
from ..words.model import Attempt, Reason, State, Status, Task


class Role(StrEnum):
    """Who may make a transition."""

    CLIENT = "client"
    MASTER = "master"
    WORKER = "worker"


class Event(StrEnum):
    """What happens to a task."""

    SUBMIT = "submit"
    ASSIGN = "assign"
    MOVE = "move"
    RECOVER = "recover"
    GIVE_UP = "give up"
    HAND_BACK = "hand back"
    RETRY = "retry"
    COMPLETE = "complete"
    FAIL = "fail"
    TAKE = "take"
    EXPIRE = "expire"


class Transition(NamedTuple):
    """The state an event leads to, and the role that may cause it."""

    to: State
    by: Role


TRANSITIONS: Final[Mapping[tuple[State, Event], Transition]] = {
    (State.NEW, Event.SUBMIT): Transition(State.PENDING, Role.CLIENT),
    (State.PENDING, Event.ASSIGN): Transition(State.ASSIGNED, Role.MASTER),
    # The worker is gone: its task moves to another worker, returns to the queue, or is given up.
    (State.ASSIGNED, Event.MOVE): Transition(State.ASSIGNED, Role.MASTER),
    (State.ASSIGNED, Event.RECOVER): Transition(State.PENDING, Role.MASTER),
    (State.ASSIGNED, Event.GIVE_UP): Transition(State.FAILED, Role.MASTER),
    # The worker shuts down in order; the attempt does not count.
    (State.ASSIGNED, Event.HAND_BACK): Transition(State.PENDING, Role.WORKER),
    (State.ASSIGNED, Event.RETRY): Transition(State.PENDING, Role.WORKER),
    (State.ASSIGNED, Event.COMPLETE): Transition(State.DONE, Role.WORKER),
    (State.ASSIGNED, Event.FAIL): Transition(State.FAILED, Role.WORKER),
    (State.DONE, Event.TAKE): Transition(State.TAKEN, Role.CLIENT),
    (State.FAILED, Event.TAKE): Transition(State.TAKEN, Role.CLIENT),
    (State.DONE, Event.EXPIRE): Transition(State.EXPIRED, Role.MASTER),
    (State.FAILED, Event.EXPIRE): Transition(State.EXPIRED, Role.MASTER),
}


def follow(state: State, event: Event) -> State:
    """The state that `event` leads to from `state`; raises IllegalTransition if there is none."""
    transition = TRANSITIONS.get((state, event))
    if transition is None:
        raise IllegalTransition(f"a task that is {state} cannot {event}")
    return transition.to


def place(state: State, task: str, worker: str = "") -> str | None:
    """The path of a task in this state; None for states that have no znode."""
    if state is State.PENDING:
        return paths.task(task)
    if state is State.ASSIGNED:
        return paths.assignment(worker, task)
    if state in (State.DONE, State.FAILED):
        return paths.status(task)
    return None


class Move(NamedTuple):
    """A transition of one task, ready to be carried out.

    `task` is the task after the transition. `worker` holds it before, `to_worker` after; both are
    empty where the state has no worker. `status` is the record written if the task is finished.
    `same_record` means that the znode's data is copied byte for byte.
    """

    task: Task
    event: Event
    source: str
    target: str
    worker: str = ""
    to_worker: str = ""
    status: Status | None = None
    same_record: bool = False


def assign(task: Task, worker: str) -> Move:
    """Give a pending task to a worker."""
    return _move(State.PENDING, Event.ASSIGN, task, to_worker=worker, same_record=True)


def recover(task: Task, worker: str, to_worker: str | None, now: float) -> Move:
    """Take a task from a lost worker and move it to another, or to the queue if that is None.

    A task that has lost the maximum number of workers is given up as `lost`: a payload that kills
    its workers must not get to all of them.
    """
    attempt = Attempt(
        worker=worker,
        reason=Reason.LOST,
        detail="the worker's session ended while it held the task",
        ended=now,
    )
    after = task._replace(history=(*task.history, attempt))
    if after.losses >= MAX_LOSSES:
        status = _failed(after, worker, Reason.LOST, None, now)
        return _move(State.ASSIGNED, Event.GIVE_UP, after, worker=worker, status=status)
    if to_worker is None:
        return _move(State.ASSIGNED, Event.RECOVER, after, worker=worker)
    return _move(State.ASSIGNED, Event.MOVE, after, worker=worker, to_worker=to_worker)


def hand_back(task: Task, worker: str) -> Move:
    """Return a task to the queue that a worker will not finish because it is shutting down."""
    return _move(State.ASSIGNED, Event.HAND_BACK, task, worker=worker, same_record=True)


def complete(task: Task, worker: str, started: float, ended: float) -> Move:
    """Record that an attempt succeeded."""
    status = Status(
        State.DONE,
        executor=task.executor,
        worker=worker,
        submitted=task.submitted,
        started=started,
        ended=ended,
        history=task.history,
        sealed=task.sealed,
    )
    return _move(State.ASSIGNED, Event.COMPLETE, task, worker=worker, status=status)


def fail(task: Task, attempt: Attempt, default_attempts: int, now: float) -> Move:
    """Record that an attempt failed: back to the queue, or final if it was the last attempt.

    `default_attempts` is the executor's number of attempts, for tasks that set none.
    """
    after = task._replace(history=(*task.history, attempt))
    if after.failures < (task.attempts or default_attempts):
        return _move(State.ASSIGNED, Event.RETRY, after, worker=attempt.worker)
    status = _failed(after, attempt.worker, attempt.reason, attempt.started, now)
    return _move(State.ASSIGNED, Event.FAIL, after, worker=attempt.worker, status=status)


def _failed(task: Task, worker: str, reason: Reason, started: float | None, ended: float) -> Status:
    return Status(
        State.FAILED,
        executor=task.executor,
        worker=worker,
        submitted=task.submitted,
        started=started,
        ended=ended,
        reason=reason,
        history=task.history,
        sealed=task.sealed,
    )


def _move(
    state: State,
    event: Event,
    task: Task,
    *,
    worker: str = "",
    to_worker: str = "",
    status: Status | None = None,
    same_record: bool = False,
) -> Move:
    source = place(state, task.id, worker)
    target = place(follow(state, event), task.id, to_worker)
    if source is None or target is None:
        raise IllegalTransition(f"task {task.id} cannot {event}: it would have no znode")
    return Move(task, event, source, target, worker, to_worker, status, same_record)
