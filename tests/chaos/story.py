"""Replays the history in the project's terms: tasks and their places, terms, incarnations.

Transactions are replayed one by one. Each must fit the tree that its predecessors have left: a
created znode did not exist, a deleted one did, and every version is one above the last. A
transaction that is wrongly missing from the history, or wrongly in it, is thus detected.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from masterworker.words import paths, records
from masterworker.words.errors import BadRecord
from masterworker.words.model import Worker, WorkerState
from tests.chaos.history import Check, Create, Delete, Operation, Set, Transaction, Unjudgeable
from tests.chaos.verdict import Incarnation, Term

_ROOTS: Final = ("/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota")
"""The content of every server before the first transaction."""


class Where(StrEnum):
    """The three kinds of places a task can be in."""

    PENDING = "/tasks"
    ASSIGNED = "/assign"
    FINISHED = "/status"


class Place(NamedTuple):
    """One place of a task; `worker` is the worker if it is assigned."""

    where: Where
    worker: str = ""

    def __str__(self) -> str:
        return f"{self.where}/{self.worker}" if self.worker else str(self.where)


class Step(NamedTuple):
    """The effect of one transaction on one task: the places it left and those it moved to."""

    zxid: int
    at: float
    session: int
    left: tuple[Place, ...]
    came: tuple[Place, ...]


@dataclass(slots=True)
class Life:
    """The fate of one task. `places` is where it is now; `state` and `result` are its status."""

    task: str
    token: str = ""
    executor: str = ""
    places: tuple[Place, ...] = ()
    steps: list[Step] = field(default_factory=list)
    state: str = ""
    result: bytes = b""

    @property
    def accepted(self) -> float | None:
        """When it was accepted; None if never."""
        first = self.steps[0]
        return first.at if first.came == (Place(Where.PENDING),) and not first.left else None

    @property
    def statuses(self) -> list[Step]:
        """Every time a status was recorded for it."""
        return [step for step in self.steps if Place(Where.FINISHED) in step.came]


class Change(NamedTuple):
    """A step of one task, with all its places before and after."""

    life: Life
    before: tuple[Place, ...]
    step: Step
    after: tuple[Place, ...]


class Story:
    """Follows the history; its state is that after the last transaction."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.terms: list[Term] = []
        self.incarnations: dict[str, Incarnation] = {}
        self.workers: dict[str, Worker] = {}
        """The announcement of each incarnation so far."""
        self.masters: dict[int, str] = {}
        """The master of each session."""
        self.holder: int | None = None
        """The session that set the current /epoch."""
        self._versions: dict[str, int] = dict.fromkeys(_ROOTS, 0)
        self._moved: defaultdict[str, tuple[list[Place], list[tuple[Place, bytes]]]]

    @property
    def epoch(self) -> int:
        """The current epoch; 0 before the first election."""
        return self.terms[-1].epoch if self.terms else 0

    def follow(self, transaction: Transaction) -> list[Change]:
        """Apply one transaction, and return its effects on tasks. Raises Unjudgeable."""
        self._moved = defaultdict(lambda: ([], []))
        for operation in transaction.operations:
            self._apply(transaction, operation)
        return [
            self._change(transaction, task, left, came)
            for task, (left, came) in self._moved.items()
        ]

    # --- the tree ----------------------------------------------------------------------------

    def _apply(self, transaction: Transaction, operation: Operation) -> None:
        path = operation.path
        version = self._versions.get(path)
        match operation:
            case Create() if version is None and paths.parent(path) in self._versions:
                self._versions[path] = 0
                self._created(transaction, operation)
            case Delete() if version is not None:
                del self._versions[path]
                self._deleted(transaction, path)
            case Set() if version is not None and operation.version == version + 1:
                self._versions[path] = operation.version
                self._replaced(transaction, operation)
            case Check() if operation.version == version:
                pass
            case _:
                raise Unjudgeable(
                    f"transaction {transaction.zxid:#x} does not fit what went before it: "
                    f"{type(operation).__name__} of {path}, whose version was {version}"
                )

    def _created(self, transaction: Transaction, create: Create) -> None:
        match create.path.split("/"):
            case ["", "tasks", task]:
                self._moved[task][1].append((Place(Where.PENDING), create.data))
            case ["", "assign", worker, task]:
                self._moved[task][1].append((Place(Where.ASSIGNED, worker), create.data))
            case ["", "status", client, number]:
                task = f"{client}-{number}"
                self._moved[task][1].append((Place(Where.FINISHED), create.data))
            case ["", "workers", worker]:
                self._registered(transaction, worker, create.data)
            case ["", "masters", master]:
                self.masters[transaction.session] = master

    def _deleted(self, transaction: Transaction, path: str) -> None:
        match path.split("/"):
            case ["", "tasks", task]:
                self._moved[task][0].append(Place(Where.PENDING))
            case ["", "assign", worker, task]:
                self._moved[task][0].append(Place(Where.ASSIGNED, worker))
            case ["", "status", client, number]:
                self._moved[f"{client}-{number}"][0].append(Place(Where.FINISHED))
            case ["", "workers", worker]:
                gone = self.incarnations[worker]
                self.incarnations[worker] = replace(gone, ended=transaction.at)
            case ["", "master"]:
                self._end_term(transaction.at)

    def _replaced(self, transaction: Transaction, change: Set) -> None:
        match change.path.split("/"):
            case ["", "epoch"]:
                self._end_term(transaction.at)
                self._begin_term(transaction, change)
            case ["", "workers", worker]:
                if records.decode_worker(change.data).state is WorkerState.DRAINING:
                    known = self.incarnations[worker]
                    self.incarnations[worker] = replace(known, draining=transaction.at)

    # --- who is there ------------------------------------------------------------------------

    def _registered(self, transaction: Transaction, worker: str, data: bytes) -> None:
        record = self.workers[worker] = records.decode_worker(data)
        self.incarnations[worker] = Incarnation(
            worker,
            process=worker.rpartition("-")[0],
            pid=record.pid,
            session=transaction.session,
            slots=record.slots,
            began=transaction.at,
        )

    def _begin_term(self, transaction: Transaction, change: Set) -> None:
        record = records.decode_master(change.data)
        self.holder = transaction.session
        self.masters.setdefault(transaction.session, record.id)
        self.terms.append(
            Term(change.version, record.id, record.pid, transaction.session, transaction.at)
        )

    def _end_term(self, at: float) -> None:
        if self.terms and self.terms[-1].ended is None:
            self.terms[-1] = replace(self.terms[-1], ended=at)

    # --- the tasks ---------------------------------------------------------------------------

    def _change(
        self,
        transaction: Transaction,
        task: str,
        left: list[Place],
        came: Sequence[tuple[Place, bytes]],
    ) -> Change:
        life = self.lives.setdefault(task, Life(task))
        step = Step(
            transaction.zxid,
            transaction.at,
            transaction.session,
            tuple(left),
            tuple(place for place, _ in came),
        )
        before = life.places
        if not life.steps:
            _read_task(life, came[0][1])
        for place, data in came:
            if place.where is Where.FINISHED:
                life.state = records.decode_status(data).state.value
                life.result = records.body(data)
        life.places = tuple(place for place in before if place not in left) + step.came
        life.steps.append(step)
        return Change(life, before, step, life.places)


def _read_task(life: Life, data: bytes) -> None:
    """What a task's record says of it; a status, if a task begins with one, says only some."""
    try:
        life.executor = records.decode_task(life.task, data).executor
        life.token = json.loads(records.body(data))["token"]
    except (BadRecord, ValueError, KeyError, TypeError) as error:
        raise Unjudgeable(f"task {life.task} is none of the campaign's: {error}") from error
