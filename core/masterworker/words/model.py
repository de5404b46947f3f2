"""The records: what a task, an attempt, a status, a worker, a master and a ledger are.

Immutable, without behaviour beyond what follows from their own fields. Times are seconds since the
Unix epoch and serve people only; no decision rests on another machine's clock. What is made for
every task is a NamedTuple: to make one takes a third of the time that a frozen dataclass takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a task is in its life. `decisions/life.py` has the transitions."""

    NEW = "new"
    PENDING = "pending"
    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    TAKEN = "taken"
    EXPIRED = "expired"


FINISHED: Final = (State.DONE, State.FAILED)
"""The states a status can record."""


class Reason(StrEnum):
    """Why an attempt, or a whole task, ended without a result."""

    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    EXPIRED = "expired"


class WorkerState(StrEnum):
    """Whether a worker takes new tasks."""

    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that ended without a result.

    `started` and `ended` are None where nobody knows them: a lost worker takes them with it.
    """

    worker: str
    reason: Reason
    detail: str = ""
    started: float | None = None
    ended: float | None = None


class Task(NamedTuple):
    """A task without its payload.

    `attempts` is how many failed attempts it is allowed before it fails for good; None leaves that
    to the executor. `raw` marks a task of a client that knows only the book's protocol. `sealed` is
    the id of the key with which the payload is sealed, and the result is to be; a sealed payload
    has the options in it. `owner` is the identity of the client in access lists, empty in an open
    tree.
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
        """What a worker has to offer for it: the executor, and the key too if it is sealed."""
        return f"{self.executor} {self.sealed}" if self.sealed else self.executor

    @property
    def losses(self) -> int:
        """How many workers were lost while they held this task."""
        return sum(attempt.reason is Reason.LOST for attempt in self.history)

    @property
    def failures(self) -> int:
        """How many attempts ended by the task's own doing."""
        return len(self.history) - self.losses


class Status(NamedTuple):
    """How a task ended; its result, if any, follows the record, sealed if `sealed` names a key."""

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
    """One incarnation of a worker, as it announces itself.

    `slots` is how many tasks it may hold at a time; at most `process_slots` of them may be for
    executors that run in child processes. `executors` maps each name offered to whether it is
    inline. `book` marks a worker that knows only the book's protocol. `keys` are the ids of those
    with which it opens sealed tasks. `owner` is its identity in access lists, empty in an open
    tree. `unavailable` are executors it was started with and cannot run at present, each with the
    reason.
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
    """The books of one client, kept in its status folder.

    Of the tasks numbered 1 to `accepted`, `taken` had their status handed over and deleted, and
    `expired` had it removed unread. `batch` numbers the client's last committed write, which is how
    it finds out what became of one whose reply was lost. `/status` itself holds the sum of the
    ledgers of clients that are gone.
    """

    accepted: int = 0
    taken: int = 0
    expired: int = 0
    batch: int = 0

    @property
    def unsettled(self) -> int:
        """Tasks accepted whose status was neither taken nor removed."""
        return self.accepted - self.taken - self.expired
