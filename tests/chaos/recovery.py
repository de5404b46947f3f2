"""Recovery: the time until a killed worker's tasks ran elsewhere, and until the next epoch.

The time counts from the kill. It includes the session timeout, and one tick by which a server can
be late to end the session. A recovery with another fault within reach is reported separately: two
faults at once may take as long as both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.chaos.journals import Execution, Fault, Settings
from tests.chaos.reach import Reach
from tests.chaos.story import Life, Story, Where
from tests.chaos.verdict import Incarnation, Recovery


class _Kill(NamedTuple):
    """A process was killed by a fault."""

    fault: Fault
    pid: int
    at: float


class _Holding(NamedTuple):
    """A worker held a task from `since` until it left by a step at `until`."""

    task: str
    since: float
    until: float


def measure(
    story: Story,
    tasks: Mapping[str, Sequence[Execution]],
    reach: Reach,
    settings: Settings,
) -> list[Recovery]:
    """All recoveries from kills of workers and of primaries."""
    kills = [kill for fault in reach.faults if (kill := _kill(fault)) is not None]
    victims = {(one.process, one.pid): one for one in story.incarnations.values()}
    holdings = _holdings(story.lives.values())
    found: list[Recovery] = []
    for kill in kills:
        until = kill.at + settings.bound
        victim = victims.get((kill.fault.target, kill.pid))
        if victim is not None:
            alone = reach.alone(kill.fault, until, harmless=("client",))
            found += _of_worker(kill, victim, holdings[victim.worker], tasks, alone)
        else:
            alone = reach.alone(kill.fault, until, harmless=("client", "worker"))
            found += _of_primary(kill, story, alone)
    return found


def _kill(fault: Fault) -> _Kill | None:
    """The kill of a fault, if it was one; at a failpoint it comes some time after the arming."""
    action = fault.detail.get("action", fault.kind)
    if action != "kill" or fault.pid is None:
        return None
    return _Kill(fault, fault.pid, fault.detail.get("struck", fault.began))


def _holdings(lives: Iterable[Life]) -> defaultdict[str, list[_Holding]]:
    """Which worker held which task, and when."""
    found: defaultdict[str, list[_Holding]] = defaultdict(list)
    for life in lives:
        since: dict[str, float] = {}
        for step in life.steps:
            for place in step.left:
                if place.where is Where.ASSIGNED and place.worker in since:
                    holding = _Holding(life.task, since.pop(place.worker), step.at)
                    found[place.worker].append(holding)
            for place in step.came:
                if place.where is Where.ASSIGNED:
                    since[place.worker] = step.at
    return found


def _of_worker(
    kill: _Kill,
    victim: Incarnation,
    holdings: Iterable[_Holding],
    tasks: Mapping[str, Sequence[Execution]],
    alone: bool,
) -> Iterator[Recovery]:
    """The recovery of each task that the target still held when its session ended."""
    ended = victim.ended
    if ended is None:
        return
    for holding in holdings:
        if holding.until < ended:
            continue
        number = kill.fault.number
        yield Recovery("reassigned", number, holding.until - kill.at, alone, holding.task)
        runs = tasks.get(holding.task, ())
        started = bisect_right(runs, kill.at, key=lambda run: run.start)
        elsewhere = (run for run in runs[started:] if run.worker != victim.worker)
        if (run := next(elsewhere, None)) is not None:
            yield Recovery("started elsewhere", number, run.start - kill.at, alone, holding.task)


def _of_primary(kill: _Kill, story: Story, alone: bool) -> Iterator[Recovery]:
    for term, following in zip(story.terms, story.terms[1:], strict=False):
        over = term.ended or following.began
        if term.pid == kill.pid and term.began <= kill.at <= over:
            seconds = following.began - kill.at
            yield Recovery("next epoch", kill.fault.number, seconds, alone)
