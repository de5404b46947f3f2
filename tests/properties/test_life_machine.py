"""One task's life, lived in every order: the moves do what the table says and count what they must.

The machine keeps a plain model: the task's state, who holds it, and how often what happened. Every
step goes through `decisions/life.py`, and is checked against its table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from masterworker.decisions import life
from masterworker.decisions.life import TRANSITIONS, Event, Move
from masterworker.words.errors import IllegalTransition
from masterworker.words.limits import MAX_LOSSES
from masterworker.words.model import FINISHED, Attempt, Reason, State, Task

WORKERS = st.sampled_from(["ant", "bee", "cat"])
OWN_REASONS = st.sampled_from([reason for reason in Reason if reason is not Reason.LOST])
ATTEMPTS = st.none() | st.integers(1, 4)
NOW = 1_700_000_000.0


def in_state(*states: State) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The rule is for a task in one of these states."""

    def _is_in(machine: Any) -> bool:
        return machine.state in states

    return precondition(_is_in)


class Life(RuleBasedStateMachine):
    """A task from its submission to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.NEW
        self.holder = ""
        self.task = Task("0123456789abcdef-1", "echo")
        self.losses = 0
        self.failures = 0

    def make(self, move: Move, event: Event) -> None:
        """Carry out a move, after a look at where it leads from and to."""
        assert move.event is event
        after = TRANSITIONS[self.state, event].to
        assert move.source == life.place(self.state, self.task.id, self.holder)
        assert move.target == life.place(after, self.task.id, move.to_worker)
        assert move.source != move.target
        assert move.worker == self.holder
        assert bool(move.to_worker) == (after is State.ASSIGNED)
        assert (move.status is not None) == (after in FINISHED)
        if move.status is not None:
            assert move.status.state is after
            assert move.status.worker == self.holder
            assert move.status.history == move.task.history
        if move.same_record:
            assert move.task == self.task
        self.state, self.holder, self.task = after, move.to_worker, move.task

    # --- what can happen -----------------------------------------------------------------------

    @rule(attempts=ATTEMPTS)
    @in_state(State.NEW)
    def submit(self, attempts: int | None) -> None:
        self.task = Task(self.task.id, "echo", attempts=attempts)
        self.state = life.follow(self.state, Event.SUBMIT)

    @rule(worker=WORKERS)
    @in_state(State.PENDING)
    def assign(self, worker: str) -> None:
        self.make(life.assign(self.task, worker), Event.ASSIGN)

    @rule(data=st.data())
    @in_state(State.ASSIGNED)
    def lose_the_worker(self, data: st.DataObject) -> None:
        """On to another worker, into the queue, or given up: by the number of losses."""
        others = WORKERS.filter(lambda name: name != self.holder)
        to_worker = data.draw(st.none() | others, "to")
        self.losses += 1
        if self.losses >= MAX_LOSSES:
            event = Event.GIVE_UP
        else:
            event = Event.RECOVER if to_worker is None else Event.MOVE
        lost = self.holder
        self.make(life.recover(self.task, lost, to_worker, NOW), event)
        assert self.task.history[-1].worker == lost
        assert self.task.history[-1].reason is Reason.LOST

    @rule()
    @in_state(State.ASSIGNED)
    def hand_back(self) -> None:
        self.make(life.hand_back(self.task, self.holder), Event.HAND_BACK)

    @rule(reason=OWN_REASONS, default=st.integers(1, 4))
    @in_state(State.ASSIGNED)
    def fail(self, reason: Reason, default: int) -> None:
        """Back into the queue while there are attempts left, else for good."""
        self.failures += 1
        left = (self.task.attempts or default) - self.failures
        attempt = Attempt(self.holder, reason, "evidence", 1.0, 2.0)
        move = life.fail(self.task, attempt, default, NOW)
        if move.status is not None:
            assert move.status.reason is reason
        self.make(move, Event.RETRY if left > 0 else Event.FAIL)
        assert self.task.history[-1] == attempt

    @rule()
    @in_state(State.ASSIGNED)
    def complete(self) -> None:
        self.make(life.complete(self.task, self.holder, 1.0, 2.0), Event.COMPLETE)

    @rule(event=st.sampled_from([Event.TAKE, Event.EXPIRE]))
    @in_state(*FINISHED)
    def end(self, event: Event) -> None:
        self.state = life.follow(self.state, event)

    @rule(event=st.sampled_from(Event))
    def try_anything_else(self, event: Event) -> None:
        """What the table does not have raises, and changes nothing."""
        if (self.state, event) not in TRANSITIONS:
            with pytest.raises(IllegalTransition, match=f"{self.state} cannot {event}"):
                life.follow(self.state, event)

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_history_counts_what_happened(self) -> None:
        """Losses and failures are kept apart, and handing back adds to neither."""
        assert (self.task.losses, self.task.failures) == (self.losses, self.failures)
        assert len(self.task.history) == self.losses + self.failures

    @invariant()
    def losses_are_bounded(self) -> None:
        """A task that is still alive has lost fewer workers than the limit."""
        assert self.losses <= MAX_LOSSES
        if self.losses == MAX_LOSSES:
            assert self.state in (State.FAILED, State.TAKEN, State.EXPIRED)


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
