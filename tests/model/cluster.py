"""The product's own masters, workers and clients in a world of ours, and all that can befall them.

Nothing of a role is replaced but what it stands on: its session, its threads, its clock, and the
runner of its attempts, whose outcomes are ours to choose. Batches are small, so that a handful of
tasks already makes several.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest

from masterworker.decisions import audit
from masterworker.decisions.audit import Kind
from masterworker.execution.attempts import Job, Outcome
from masterworker.execution.sandbox import Sandbox
from masterworker.roles import account, courier, heart, incarnation, master, worker
from masterworker.roles.client import Client
from masterworker.roles.future import TaskFuture
from masterworker.roles.master import Master, MasterSettings
from masterworker.roles.worker import Worker, WorkerSettings
from masterworker.words import limits, paths
from masterworker.words.errors import MasterworkerError
from masterworker.words.executor import Executor
from masterworker.words.model import Reason
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.cleaner import Cleaner
from masterworker.zookeeper.operations import Delete
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import Survey
from tests.model.judge import Broken, Judge
from tests.model.session import ModelSession
from tests.model.store import Store, children
from tests.model.world import Actor, Event, Killed, Process, World

HOSTS: Final = "the model"
EXECUTOR: Final = "echo"
SETTINGS: Final = MasterSettings(status_ttl=100.0, folder_ttl=50.0)

BATCH_COUNT: Final = 7
"""Operations in one multi, instead of 250: a move takes two, beside the guards."""

STRIDE: Final = 20
"""Steps each thread goes on at a time when nothing is to happen in between."""

PATIENCE: Final = 500
"""Rounds in which a cluster without faults must come to rest."""

SOON: Final = 10.0
"""Seconds of the world's in which a cluster without faults must come to rest."""


class Hands:
    """A worker's crew: it holds jobs until somebody says how they end."""

    def __init__(
        self,
        world: World,
        executors: Mapping[str, Executor],
        processes: int,
        wake: Event,
        configs: Mapping[str, Mapping[str, Any]],
        file: Path | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self._world = world
        self._wake = wake
        self._outcomes: list[Outcome] = []

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def config(self, executor: str) -> None:
        return None

    def start(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.jobs.setdefault(job.task.id, job)

    def stop(self, task_id: str) -> None:
        self.jobs.pop(task_id, None)

    def stop_all(self) -> None:
        self.jobs.clear()
        self._outcomes.clear()

    def unable(self) -> dict[str, str]:
        return {}

    def withdraw(self) -> list[str]:
        """Every second job has not begun yet."""
        withdrawn = list(self.jobs)[::2]
        for task in withdrawn:
            del self.jobs[task]
        return withdrawn

    def outcomes(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def lease(self, until: float) -> None:
        pass

    def close(self) -> None:
        self.stop_all()

    def finish(self, task: str, how: str) -> None:
        """An attempt ends by itself, fails, or is cut short from outside."""
        now = self._world.time.time()
        job = self.jobs.pop(task)
        outcome = Outcome(task, now, now, result=job.payload)
        if how == "fail":
            outcome = Outcome(task, now, now, reason=Reason.FAILED, detail="as it was told to")
        elif how == "are cut short":
            outcome = Outcome(task, now, now, interrupted=True)
        self._outcomes.append(outcome)
        self._wake.set()


class Cluster:
    """Everything that lives in one world."""

    def __init__(self, replicas: int = 2) -> None:
        self.store = Store(1 + replicas)
        self.replicas = self.store.replicas[1:]
        self.world = World(self.store, self.replicas)
        self.judge = Judge()
        self.store.witnesses.append(self.judge)
        self.masters: dict[Process, Master] = {}
        self.workers: dict[Process, Worker] = {}
        self.clients: dict[Process, Client] = {}
        self.futures: dict[Process, list[TaskFuture]] = {}
        self._patch = pytest.MonkeyPatch()
        self._settle_in()
        self.observer = self._observe()

    def _settle_in(self) -> None:
        """Give the roles' modules the world to stand on."""
        world, put = self.world, self._patch.setattr
        for module in (master, worker, courier):
            put(module, "Session", world.session)
        for module in (master, worker, courier, heart):
            put(module, "threading", world.threading)
        for module in (master, worker, courier, heart, incarnation):
            put(module, "time", world.time)
        for module in (master, incarnation, account):
            put(module, "secrets", world.secrets)
        put(
            master, "Survey", functools.partial(Survey, clock=world.now, wall_clock=world.time.time)
        )
        put(master, "Cleaner", functools.partial(Cleaner, clock=world.now))
        put(worker, "Crew", functools.partial(Hands, world))
        put(limits, "BATCH_COUNT", BATCH_COUNT)

    def _observe(self) -> ModelSession:
        """A session of nobody's, at a server that never lags."""
        observer = ModelSession(self.store, Event(self.world), replica=self.store.replicas[0])
        observer.start()
        observer.ensure_tree()
        return observer

    def end(self) -> None:
        """End every thread, and give the modules back what they had."""
        try:
            self.world.end()
        finally:
            self._patch.undo()

    # --- who joins ---------------------------------------------------------------------------

    def add_master(self) -> Process:
        with self.world.process(f"master-{len(self.world.processes)}") as process:
            self.masters[process] = Master(HOSTS, SETTINGS)
            self._run(self.masters[process].run)
        return process

    def add_worker(self, slots: int) -> Process:
        with self.world.process(f"worker-{len(self.world.processes)}") as process:
            executors = {EXECUTOR: Executor(EXECUTOR, lambda payload, _: payload)}
            settings = WorkerSettings(name=process.name, slots=slots, grace=5.0)
            self.workers[process] = Worker(HOSTS, executors, settings)
            self._run(self.workers[process].run)
        return process

    def add_client(self) -> Process:
        with self.world.process(f"client-{len(self.world.processes)}") as process:
            self.clients[process] = Client(HOSTS)
            atexit.unregister(self.clients[process].close)
            self.futures[process] = []
        return process

    def _run(self, main: Callable[[], None]) -> None:
        Actor(self.world, main, "main").start()

    def submit(self, client: Process, count: int, attempts: int) -> None:
        payloads = [b"payload"] * count
        self.futures[client] += self.clients[client].submit_many(
            payloads, executor=EXECUTOR, attempts=attempts
        )

    def hands(self, process: Process) -> Hands:
        """A worker's crew."""
        return cast("Hands", self.workers[process]._crew)

    # --- what goes on ------------------------------------------------------------------------

    @property
    def living(self) -> list[Process]:
        """The processes that are not over."""
        return [process for process in self.world.processes if not process.over]

    def step(self, process: Process, steps: int = 1, choice: int = 0) -> bool:
        """Let one of the process's threads go on some steps; False if all wait."""
        ready = [actor for actor in process.actors if actor.is_ready]
        if not ready:
            return False
        known = len(process.sessions)
        ready[choice % len(ready)].resume(steps)
        if process in self.masters:
            self.judge.masters |= {session.identity for session in process.sessions[known - 1 :]}
        return True

    def run_to_write(self, process: Process) -> None:
        """Let a process go on until it has a write under way, or there is nothing to do."""
        going = self.step(process)
        for _ in range(STRIDE):
            if process.writes or not going:
                return
            going = self.step(process)

    def finish_all(self, how: str = "end") -> None:
        """All attempts come to an end: they `end`, `fail`, or `are cut short`."""
        for process in self.workers:
            for task in [] if process.over else list(self.hands(process).jobs):
                self.hands(process).finish(task, how)

    def round(self, steps: int = 1, without: Process | None = None) -> bool:
        """Let every thread that can run do so, on a fast network; False if all wait.

        One process may stand still meanwhile.
        """
        moving = [process for process in self.living if process is not without]
        for session in [one for process in moving for one in process.sessions]:
            while session.connected and session.under_way:
                session.deliver()
        stepped = [self.step(process, steps, n) for process in moving for n in range(2)]
        return any(stepped)

    # --- what befalls them -------------------------------------------------------------------

    def reconnect(self, process: Process) -> None:
        """Whatever lost its connection has it again, to the next server."""
        for session in process.sessions:
            if not session.connected and not session.lost:
                position = self.replicas.index(session.replica)
                session.connect(self.replicas[(position + 1) % len(self.replicas)])

    def expire(self, process: Process) -> None:
        """The leader ends the process's sessions, dead or alive."""
        for session in process.sessions:
            self.store.end_session(session.identity)

    def stop(self, process: Process) -> None:
        """Tell a master or a worker to stop; a worker told twice stops cold."""
        if process in self.masters:
            self.masters[process].stop()
        elif process in self.workers:
            self.workers[process].stop()

    def depose(self) -> None:
        """An operator deletes /master, while its owner's session lives on."""
        self.observer.commit([Delete(paths.MASTER)]).wait()

    # --- the end -----------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults: the dead are buried, the living are connected."""
        for index in reversed(range(len(self.world.strays))):
            self.world.deliver_stray(index)
        for process in self.world.processes:
            if process.over:
                self.expire(process)
        for session in [one for process in self.living for one in process.sessions]:
            if session.lost:
                self.store.end_session(session.identity)
        for replica in self.replicas:
            replica.lagging = False
            replica.catch_up()
        for process in self.living:
            self.reconnect(process)

    def converge(self) -> None:
        """Run without faults until all that was accepted has ended and everybody was told.

        And soon: whoever overlooks something finds it in the end, by a look every 30 s, and that is
        not good enough.
        """
        began = self.world.now()
        for _ in range(PATIENCE):
            if self.is_settled():
                took = self.world.now() - began
                assert took <= SOON, f"somebody was not woken: it took {took:g} s"
                return
            self.finish_all()
            if not self.round(STRIDE):
                self.world.advance(0.5)
                for process in self.living:
                    self.reconnect(process)
        raise AssertionError(f"no rest: {sorted(self.store.tree)}, waiting: {self.waiting()}")

    def is_settled(self) -> bool:
        """Whether no task is under way and every living client has all its results."""
        tree = self.store.tree
        if children(tree, paths.TASKS) or self.waiting():
            return False
        folders = children(tree, paths.ASSIGN) or []
        return not any(tree[paths.assignments(folder)].children for folder in folders)

    def waiting(self) -> list[TaskFuture]:
        """The futures of living clients that have not ended."""
        living = (futures for client, futures in self.futures.items() if not client.over)
        return [future for futures in living for future in futures if not future.done()]

    def check_futures(self) -> None:
        """Whoever was told that its task was not accepted was told the truth."""
        for future in [one for futures in self.futures.values() for one in futures]:
            error = future.exception() if future.done() else None
            if repr(Killed()) in str(error):
                continue  # a process that was killed tells nobody anything
            if type(error) is MasterworkerError and future.task_id in self.judge.accepted:
                raise Broken(f"task {future.task_id} was accepted, and its future says: {error}")

    def audit(self) -> None:
        """The product's own audit, and the judge's books, find nothing amiss.

        Time stands still meanwhile: one reading is enough, and what a dead worker leaves behind may
        not have been recovered yet.
        """
        reading = Auditor(cast("Session", self.observer))._reading()
        suspected = audit.suspicions(reading)
        report = audit.report(reading, [one for one in suspected if one.kind is not Kind.ORPHANED])
        assert report.ok, report
        assert report.accepted == len(self.judge.accepted), report
        assert report.taken + report.expired == len(self.judge.settled), report
        self.judge.balance(self.store.tree)
        self.check_futures()
