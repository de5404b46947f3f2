"""Conservation: from its acceptance on, a task is in exactly one place, and moves are atomic.

This is checked for every transaction, not only at the end. A task that was in two places, or in
none, between two commits could have run twice or been lost if a process had died between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.chaos.story import Change, Life, Place, Where
from tests.chaos.verdict import Finding, Findings, Promise

_WAYS: Final = {
    ((), (Where.PENDING,)),  # submitted
    ((Where.PENDING,), (Where.ASSIGNED,)),
    ((Where.ASSIGNED,), (Where.ASSIGNED,)),  # to another worker
    ((Where.ASSIGNED,), (Where.PENDING,)),
    ((Where.ASSIGNED,), (Where.FINISHED,)),
    ((Where.FINISHED,), ()),  # taken or expired
}
"""The moves that one transaction may make (docs/protocol.md, "A task's life")."""


class Conservation:
    """Checks the places of tasks, their acceptance and their statuses."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._by_token: dict[str, str] = {}

    def see(self, changes: Iterable[Change]) -> None:
        """Check one transaction."""
        for change in changes:
            way = _kinds(change.before), _kinds(change.after)
            if way not in _WAYS:
                self._report(
                    change,
                    Promise.CONSERVATION,
                    f"went from {_shown(change.before)} to {_shown(change.after)} in one step",
                )
            if Place(Where.FINISHED) in change.step.came:
                self._status(change)
            elif not change.step.left:
                self._acceptance(change)

    def _status(self, change: Change) -> None:
        if not any(place.where is Where.ASSIGNED for place in change.step.left):
            self._report(
                change, Promise.NO_ASSIGNMENT, "got a status, and no assignment was deleted with it"
            )
        recorded = change.life.statuses
        if len(recorded) > 1:
            before = ", ".join(f"{step.zxid:#x}" for step in recorded[:-1])
            self._report(
                change, Promise.RECORDED_TWICE, f"got a status although it had one ({before})"
            )

    def _acceptance(self, change: Change) -> None:
        """Handle a task that appears from nowhere: an acceptance, or a duplicate of a task."""
        life = change.life
        if len(life.steps) > 1:
            first = life.steps[0].zxid
            self._report(
                change, Promise.ACCEPTED_TWICE, f"was created again; first accepted by {first:#x}"
            )
            return
        other = self._by_token.setdefault(life.token, life.task)
        if other != life.task:
            self._report(
                change,
                Promise.ACCEPTED_TWICE,
                f"is the second one for token {life.token}; the first is {other}",
            )

    def _report(self, change: Change, promise: Promise, what: str) -> None:
        task, step = change.life.task, change.step
        self._findings.add(
            Finding(promise, f"task {task} {what}", task, step.zxid, step.session, step.at)
        )


def at_the_end(lives: Iterable[Life], findings: Findings) -> None:
    """Check the outcome of all tasks: each accepted one must have got a status."""
    for life in lives:
        if life.accepted is not None and not life.statuses:
            last = life.steps[-1]
            findings.add(
                Finding(
                    Promise.LOST,
                    f"task {life.task} never got a status; at last it was in {_shown(life.places)}",
                    life.task,
                    last.zxid,
                    last.session,
                    last.at,
                    {"way": [_shown(step.came) for step in life.steps]},
                )
            )


def _kinds(places: Sequence[Place]) -> tuple[Where, ...]:
    return tuple(place.where for place in places)


def _shown(places: Sequence[Place]) -> str:
    return " and ".join(map(str, places)) or "nowhere"
