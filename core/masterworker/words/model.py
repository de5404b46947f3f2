"""The records: tasks, attempts, statuses, workers, masters and ledgers.

They are immutable and have no behaviour beyond what follows from their own fields. Times are
seconds since the Unix epoch and are informational; no decision depends on another machine's clock.
Types created for every task are NamedTuples, which take a third of the time of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class State(StrEnum):
    """The state of a task. `decisions/life.py` has the transitions."""

    NEW = "new"
    PENDING = "pending"
    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    TAKEN = "taken"
    EXPIRED = "expired"


FINISHED: Final = (State.DONE, State.FAILED)
"""The states that a status can record."""


class Reason(StrEnum):
    """Why an attempt, or a whole task, ended without a result."""

    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    EXPIRED = "expired"


class WorkerState(StrEnum):
    """Whether a worker accepts new tasks."""

    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that ended without a result.

    `started` and `ended` are None if unknown: a lost worker does not report them.
    """

    worker: str
    reason: Reason
    detail: str = ""
    started: float | None = None
    ended: float | None = None


class Task(NamedTuple):
    """A task without its payload.

    `attempts` is how many attempts may fail before the task fails for good; None leaves that to the
    executor. `raw` marks a task of a client that knows only the book's protocol. `sealed` is the id
    of the key that seals the payload and the result; a sealed payload includes the options. `owner`
    is the client's identity in ACLs, empty in an open tree.
    """

    id: str
    executor: str
    submitted: float = 0.0
    attempts: int | None = None
    options: Mapping[str, str] = MappingProxyType({})
    history: tuple[Attempt, ...] = ()
    raw: bool = False
    sealed: str = ""
    owner: str = ""

    @property
    def needs(self) -> str:
        """What a worker must offer for it: the executor, and also the key if it is sealed."""
        return f"{self.executor} {self.sealed}" if self.sealed else self.executor

    @property
    def losses(self) -> int:
        """Number of workers that were lost while they had this task."""
        return sum(attempt.reason is Reason.LOST for attempt in self.history)

    @property
    def failures(self) -> int:
        """How many attempts failed through the task itself."""
        return len(self.history) - self.losses


class Status(NamedTuple):
    """How a task ended. The result, if any, follows the record, encrypted with key `sealed`."""

    state: State
    executor: str
    worker: str = ""
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    reason: Reason | None = None
    history: tuple[Attempt, ...] = ()
    sealed: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """One incarnation of a worker, as registered in ZooKeeper.

    `slots` is how many tasks it may hold at a time; at most `process_slots` of them may be for
    executors that run in child processes. `executors` maps each name offered to whether it is
    inline. `book` marks a worker that knows only the book's protocol. `keys` are the ids of the
    keys with which it opens sealed tasks. `owner` is its identity in ACLs, empty in an open tree.
    `unavailable` maps each configured executor that it cannot run at present to the reason.
    """

    executors: Mapping[str, bool]
    slots: int
    process_slots: int
    host: str = ""
    pid: int = 0
    version: str = ""
    state: WorkerState = WorkerState.READY
    started: float = 0.0
    book: bool = False
    keys: tuple[str, ...] = ()
    owner: str = ""
    unavailable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Master:
    """A master process, primary or backup."""

    id: str
    host: str
    pid: int
    version: str = ""
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """A client's ledger, kept in its status folder.

    Of the tasks numbered 1 to `accepted`, `taken` had their status handed over and deleted, and
    `expired` had it removed unread. `batch` is the number of the client's last committed write, by
    which it learns the outcome of a write whose reply was lost. `/status` itself holds the sum of
    the ledgers of clients that are gone.
    """

    accepted: int = 0
    taken: int = 0
    expired: int = 0
    batch: int = 0

    @property
    def unsettled(self) -> int:
        """The number of accepted tasks whose status was neither taken nor removed."""
        return self.accepted - self.taken - self.expired
