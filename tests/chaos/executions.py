"""Executions: no two attempts of a task at once, and a cause for each execution after the first.

Execution is at least once, so a second execution breaks no promise, but it must have a cause. A
fault hit the first worker, its connection to ZooKeeper or ZooKeeper itself; or the worker left; or
the machine stalled. A lease can also expire without any such event, because the machine was slow:
the worker then stops its attempts to be safe, and starts them again itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from tests.chaos.journals import Execution
from tests.chaos.reach import Reach
from tests.chaos.story import Life, Place, Step, Story, Where
from tests.chaos.verdict import Finding, Findings, Promise


def by_task(executions: Iterable[Execution]) -> dict[str, list[Execution]]:
    """The executions of each task, in the order of their start."""
    found: dict[str, list[Execution]] = {}
    for execution in executions:
        found.setdefault(execution.task, []).append(execution)
    for runs in found.values():
        runs.sort(key=lambda run: run.start)
    return found


def overlaps(
    tasks: Mapping[str, Sequence[Execution]],
    is_inline: Callable[[Execution], bool],
    findings: Findings,
) -> int:
    """Find attempts of one task that ran at once; return the number of permitted overlaps.

    An inline attempt that has started cannot be stopped (docs/protocol.md, "What is not promised").
    If the earlier attempt is an inline one, the overlap is counted and is no finding.
    """
    excused = 0
    for task, runs in tasks.items():
        for first, second in _overlapping(runs):
            if is_inline(first):
                excused += 1
                continue
            findings.add(
                Finding(
                    Promise.OVERLAP,
                    f"task {task} ran on {first.worker} until {first.seen:.3f} and on "
                    f"{second.worker} from {second.start:.3f}: {first.seen - second.start:.3f} s "
                    "at once",
                    task,
                    at=second.start,
                    evidence={"attempts": [first.attempt, second.attempt]},
                )
            )
    return excused


def _overlapping(runs: Sequence[Execution]) -> Iterator[tuple[Execution, Execution]]:
    """Each execution that started while an earlier one was still alive, with that one."""
    longest = runs[0]
    for run in runs[1:]:
        if run.start < longest.seen:
            yield longest, run
        if run.seen > longest.seen:
            longest = run


def explain(
    tasks: Mapping[str, Sequence[Execution]], story: Story, reach: Reach, findings: Findings
) -> Counter[str]:
    """Find the cause of each execution after a task's first; count them by cause.

    Attempts are taken in the order of their numbers: a worker that does not know yet that it has
    lost a task can start it after the next attempt has started.
    """
    causes: Counter[str] = Counter()
    for task, runs in tasks.items():
        for first, again in pairwise(sorted(runs, key=lambda run: (run.attempt, run.start))):
            cause = _cause(story, reach, first, again)
            if cause:
                causes[cause] += 1
                continue
            life = story.lives.get(task)
            findings.add(
                Finding(
                    Promise.UNEXPLAINED,
                    f"task {task} ran on {first.worker} from {first.start:.3f} to {first.seen:.3f}"
                    f"{'' if first.end else ' (no end)'} and again on {again.worker} from "
                    f"{again.start:.3f}; no fault was near",
                    task,
                    at=again.start,
                    evidence={"steps": [] if life is None else list(map(_shown, life.steps))},
                )
            )
    return causes


def _cause(story: Story, reach: Reach, first: Execution, again: Execution) -> str:
    since, until = sorted((first.start, again.start))
    fault = reach.touching(first.process, since, until)
    if fault is not None:
        return fault.kind
    life, worker = story.lives.get(first.task), story.incarnations.get(first.worker)
    if life is None or worker is None:
        return ""
    left = _left(life, first)
    if left is None or left.at > again.start:  # it was this worker's all the time
        return "lease" if again.worker == first.worker and first.end is None else ""
    draining = worker.draining is not None and worker.draining <= left.at
    return "drain" if draining and left.came == (Place(Where.PENDING),) else ""


def _left(life: Life, run: Execution) -> Step | None:
    """How the task left the worker after this execution had started there."""
    place = Place(Where.ASSIGNED, run.worker)
    return next((step for step in life.steps if place in step.left and step.at >= run.start), None)


def _shown(step: Step) -> str:
    places = [" and ".join(map(str, some)) or "nowhere" for some in (step.left, step.came)]
    return f"{step.at:.3f} {step.zxid:#x} {step.session:#x} {' -> '.join(places)}"
