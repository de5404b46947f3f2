"""Explains in one sentence why a task is in its state."""

from __future__ import annotations

from collections.abc import Mapping

from ..words import evidence
from ..words.model import Status, Task, Worker
from . import placement, retry


def pending(
    task: Task,
    *,
    primary: str | None,
    workers: Mapping[str, Worker],
    loads: Mapping[str, placement.Load],
    now: float,
) -> str:
    """Why a task is still pending.

    `primary` is the primary master, `loads` is each worker's load, `now` is in seconds since the
    epoch.
    """
    if primary is None:
        return "there is no primary master: start one with `mwctl master`"
    able = {name: worker for name, worker in workers.items() if placement.can_run(worker, task)}
    if not able:
        if task.sealed and any(
            placement.can_run(worker, task._replace(sealed="")) for worker in workers.values()
        ):
            return (
                f"it is encrypted with key {task.sealed!r}, and no ready worker that offers "
                f"executor {task.executor!r} has that key: start one with `mwctl worker --executor "
                f"{task.executor} --key-file FILE`"
            )
        unable = {
            name: worker.unavailable[task.executor]
            for name, worker in workers.items()
            if task.executor in worker.unavailable
        }
        if unable:
            name, why = min(unable.items())
            return (
                f"no worker can run executor {task.executor!r} at present; worker {name} reports: "
                f"{why} (it retries automatically)"
            )
        offered = sorted({name for worker in workers.values() for name in worker.executors})
        there = f"the workers offer {', '.join(offered)}" if offered else "the workers offer none"
        if not workers:
            there = "there are no workers"
        return (
            f"no ready worker offers executor {task.executor!r} ({there}): "
            f"start one with `mwctl worker --executor {task.executor}`"
        )
    resting = retry.rest(task, now)
    if resting:
        failed = f"attempt {len(task.history)} {task.history[-1].reason.value.replace('_', ' ')}"
        return f"{failed}; next attempt in about {max(1, round(resting))} s"
    rooms = [
        placement.has_room(worker, task.executor, loads.get(name, placement.Load(0, 0)))
        for name, worker in able.items()
    ]
    if any(rooms):
        return "it is about to be assigned"
    workers_that = "the only worker" if len(able) == 1 else f"all {len(able)} workers"
    if None in rooms:
        return f"{workers_that} offering executor {task.executor!r} may have no free slot"
    taken = f"every slot of {workers_that} offering executor {task.executor!r} is taken"
    inline = any(worker.slots > worker.process_slots for worker in able.values())
    if inline and not all(worker.executors[task.executor] for worker in able.values()):
        taken += " except those for inline executors"
    return taken


def finished(status: Status) -> str:
    """Why a task failed; empty for a task that is done."""
    if status.reason is None:
        return ""
    why = f"{status.reason.value.replace('_', ' ')} on worker {status.worker}"
    last = evidence.point(status.history[-1].detail) if status.history else ""
    return f"{why}: {last}" if last else why
