"""Hand-made histories for the tests of the analysis: a cluster's commits in a few words.

Every method is one transaction, by default as the protocol requires. Each one advances the time by
a tenth of a second. The functions below make the journals and the analysis.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

from masterworker.words import paths, records
from masterworker.words.model import (
    Ledger,
    Master,
    Reason,
    State,
    Status,
    Task,
    Worker,
    WorkerState,
)
from tests.chaos.answers import result_of
from tests.chaos.history import Check, Create, Delete, Operation, Set, Transaction
from tests.chaos.journals import Execution, Handed, Journals, Settings
from tests.chaos.judge import judge
from tests.chaos.verdict import Promise, Verdict

CLIENT = "00000000000000c1"
MASTER, WORKER, OTHER, CLIENTS = 0x10, 0x21, 0x22, 0x30
"""Sessions: of the first master, two workers, and the client."""

BEGAN = 1000.0
STEP = 0.1


class Scene:
    """A tree with one primary, the workers `worker-1-a` and `worker-2-b`, and one client."""

    def __init__(self, *, slots: int = 4) -> None:
        self.transactions: list[Transaction] = []
        self.now = BEGAN
        self.ledger = Ledger()
        self.master = 0
        self._versions: Counter[str] = Counter()
        for folder in paths.FOLDERS:
            self.commit(MASTER, Create(folder, b""))
        self.elect(MASTER)
        self.one = self.register("worker-1-a", WORKER, slots)
        self.two = self.register("worker-2-b", OTHER, slots)
        self.commit(CLIENTS, Create(paths.statuses(CLIENT), records.encode_ledger(Ledger())))

    def commit(self, session: int, *operations: Operation, event: str = "") -> float:
        """Commit these operations; return the time."""
        self.now += STEP
        zxid = (1 << 32) + len(self.transactions) + 1
        self.transactions.append(Transaction(zxid, self.now, session, operations, event))
        return self.now

    def set(self, path: str, data: bytes) -> Set:
        """A Set that makes the next version."""
        self._versions[path] += 1
        return Set(path, data, self._versions[path])

    @property
    def fence(self) -> Check:
        """A check of the current epoch."""
        return Check(paths.EPOCH, self._versions[paths.EPOCH])

    # --- who is there ------------------------------------------------------------------------

    def elect(self, session: int, pid: int = 10) -> float:
        """A master becomes the primary; its predecessor has lost its session."""
        if self._versions[paths.EPOCH]:
            self.commit(0, Delete(paths.MASTER), event="closed")
        record = records.encode_master(Master(f"m-{session:x}", "host", pid))
        self.commit(session, Create(paths.master(f"m-{session:x}"), record, ephemeral=True))
        self.master = session
        office = Create(paths.MASTER, record, ephemeral=True)
        return self.commit(session, office, self.set(paths.EPOCH, record))

    def register(self, worker: str, session: int, slots: int = 4) -> str:
        """A worker registers; it has this many slots, two of them for processes."""
        self._record = Worker({"chaos": False, "chaos-inline": True}, slots, 2, pid=session)
        announcement = records.encode_worker(self._record)
        folder = Create(paths.assignments(worker), b"")
        self.commit(session, folder, Create(paths.worker(worker), announcement, ephemeral=True))
        return worker

    def drain(self, worker: str, session: int) -> float:
        """A worker announces that it is leaving."""
        record = replace(self._record, state=WorkerState.DRAINING)
        return self.commit(session, self.set(paths.worker(worker), records.encode_worker(record)))

    def lose(self, worker: str, session: int) -> float:
        """A worker's session ends."""
        return self.commit(session, Delete(paths.worker(worker)), event="closed")

    # --- tasks -------------------------------------------------------------------------------

    def submit(
        self, number: int, *, token: str = "", executor: str = "chaos", booked: bool = True
    ) -> str:
        """The client submits its n-th task; `booked` says whether its ledger counts it."""
        task = paths.task_id(CLIENT, number)
        payload = json.dumps({"token": token or f"t{number}"}).encode()
        create = Create(paths.task(task), records.encode_task(Task(task, executor), payload))
        if booked:
            self.ledger = replace(self.ledger, accepted=self.ledger.accepted + 1)
        self.commit(CLIENTS, self.books(), create)
        return task

    def assign(self, task: str, worker: str, *, by: int | None = None) -> float:
        """The master assigns a task, or another session does."""
        moved = Create(paths.assignment(worker, task), b""), Delete(paths.task(task))
        return self.commit(by or self.master, self.fence, *moved)

    def move(self, task: str, worker: str, to_worker: str) -> float:
        """The master gives a lost worker's task to another."""
        left = Delete(paths.assignment(worker, task))
        came = Create(paths.assignment(to_worker, task), b"")
        return self.commit(self.master, self.fence, came, left)

    def hand_back(self, task: str, worker: str, session: int) -> float:
        """A worker puts a task back into the queue."""
        left = Delete(paths.assignment(worker, task))
        return self.commit(session, left, Create(paths.task(task), b""))

    def complete(self, task: str, worker: str, session: int, *, result: str = "") -> float:
        """A worker records that a task is done; its token is `t` and its number."""
        status = self.status(task, result)
        return self.commit(session, Delete(paths.assignment(worker, task)), status)

    def status(self, task: str, result: str = "") -> Create:
        """The creation of a task's status."""
        result = result or result_of(f"t{paths.split_task(task)[1]}")
        data = records.encode_status(Status(State.DONE, "chaos"), result.encode())
        return Create(paths.status(task), data)

    def give_up(self, task: str, worker: str) -> float:
        """The master records that a task lost too many workers."""
        record = records.encode_status(Status(State.FAILED, "chaos", reason=Reason.LOST))
        left = Delete(paths.assignment(worker, task))
        return self.commit(self.master, self.fence, Create(paths.status(task), record), left)

    def take(self, task: str) -> float:
        """The client takes a status."""
        self.ledger = replace(self.ledger, taken=self.ledger.taken + 1)
        return self.commit(CLIENTS, self.books(), Delete(paths.status(task)))

    def books(self) -> Set:
        """The client's ledger, written as it is."""
        return self.set(paths.statuses(CLIENT), records.encode_ledger(self.ledger))

    def finish(self, number: int, **submission: str) -> str:
        """The whole life of a task on the first worker, up to its status."""
        task = self.submit(number, **submission)  # type: ignore[arg-type]
        self.assign(task, self.one)
        self.complete(task, self.one, WORKER)
        return task


SETTINGS = Settings(session_timeout=3.0, tick=0.5, delta=1.0, began=BEGAN, settled=BEGAN + 100)


def verdict(scene: Scene, **journals: object) -> Verdict:
    """The analysis of a scene; `journals` are fields of Journals."""
    return judge(scene.transactions, Journals(settings=SETTINGS, **journals))  # type: ignore[arg-type]


def broken(scene: Scene, **journals: object) -> set[Promise]:
    """The promises broken in a scene."""
    return set(verdict(scene, **journals).findings.counts)


def handed(task: str, token: str, **more: str) -> Handed:
    """A result as a client received it."""
    fields = {"outcome": "succeeded", "value": f"done:{token}", "reason": None, **more}
    return Handed(BEGAN + 50, token, task, journal="client-1-7", **fields)  # type: ignore[arg-type]


def run(task: str, worker: str, start: float, end: float, *, ended: bool = True) -> Execution:
    """An execution; one that is not `ended` was last seen at `end`."""
    process = worker.rpartition("-")[0]
    return Execution(task, 1, worker, process, start, end, end=end if ended else None)
