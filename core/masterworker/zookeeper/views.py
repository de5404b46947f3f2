"""The results of an inspection as data: the cluster, a row of a task list, a task in detail.

`to_dict` returns what `mwctl` prints as JSON, a contract described in docs/cli.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..decisions.placement import Load
from ..words.model import Attempt, Master, State, Worker


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The masters and workers, and the number of tasks in each state, quarantined znodes included.

    For each worker, `assigned` is its number of tasks, and `loads` says how many of them run in
    child processes.
    """

    primary: Master | None
    epoch: int
    masters: tuple[Master, ...]
    workers: Mapping[str, Worker]
    assigned: Mapping[str, int]
    pending: int
    finished: int
    loads: Mapping[str, Load]

    def to_dict(self) -> dict[str, Any]:
        """The status as printed by `mwctl status -o json`."""
        primary = self.primary
        return {
            "primary": None if primary is None else _master(primary) | {"epoch": self.epoch},
            "masters": [
                _master(master) | {"version": master.version, "started": master.started or None}
                for master in self.masters
            ],
            "workers": [
                _worker(name, worker, self.loads.get(name, Load(0, 0)))
                for name, worker in sorted(self.workers.items())
            ],
            "tasks": {
                "pending": self.pending,
                "assigned": sum(self.assigned.values()),
                "finished": self.finished,
            },
        }


class TaskRow(NamedTuple):
    """A task in a list. `attempts` is how many attempts have ended without a result so far."""

    id: str
    state: State
    executor: str
    worker: str
    attempts: int
    submitted: float


@dataclass(frozen=True, slots=True)
class TaskView:
    """All details of one task."""

    id: str
    state: State
    executor: str
    worker: str
    history: tuple[Attempt, ...]
    why: str
    submitted: float
    started: float | None = None
    ended: float | None = None
    sealed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The task as printed by `mwctl tasks show -o json`."""
        return {
            "id": self.id,
            "state": self.state.value,
            "executor": self.executor,
            "worker": self.worker or None,
            "attempts": [
                {
                    "worker": attempt.worker,
                    "reason": attempt.reason.value,
                    "detail": attempt.detail,
                    "started": attempt.started,
                    "ended": attempt.ended,
                }
                for attempt in self.history
            ],
            "why": self.why,
            "submitted": self.submitted,
            "started": self.started,
            "ended": self.ended,
            "sealed": self.sealed or None,
        }


def _master(master: Master) -> dict[str, Any]:
    return {"id": master.id, "host": master.host, "pid": master.pid}


def _worker(name: str, worker: Worker, load: Load) -> dict[str, Any]:
    unknown = load.in_processes is None
    return {
        "id": name,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "started": worker.started or None,
        "state": worker.state.value,
        "slots": worker.process_slots,
        "inline_slots": worker.slots - worker.process_slots,
        "assigned": load.assigned,
        "assigned_inline": None if unknown else load.assigned - (load.in_processes or 0),
        "executors": sorted(worker.executors),
        "unavailable": dict(worker.unavailable),
        "keys": list(worker.keys),
    }
