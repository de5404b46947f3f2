"""The plan, held to its promises over whole histories of a cluster.

The tree is a dict from path to task, and a move is what it is in ZooKeeper: delete the source and
create the target, both or neither, and only while the worker it goes to is there. Workers join,
drain, vanish and finish tasks in any order; masters plan, are interrupted, and act on what is no
longer true. Whatever happens, every task is in exactly one place; after a plan that was carried
out nobody waits whom a worker could serve; and in the end every task has a status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from masterworker.decisions import life
from masterworker.decisions.life import Move, Role
from masterworker.decisions.plan import Queue, Snapshot, plan, queue_of
from masterworker.words import book, paths
from masterworker.words.limits import MAX_LOSSES
from masterworker.words.model import (
    FINISHED,
    Attempt,
    Reason,
    State,
    Status,
    Task,
    Worker,
    WorkerState,
)

CLIENT = "0123456789abcdef"
EXECUTORS = ["echo", "read", "command"]
RAW = "raw"
NOW = 1_700_000_000.0

MOSTLY = st.integers(0, 3).map(bool)
OURS = st.builds(
    lambda executors, slots, process_slots, state: Worker(
        executors, slots, min(slots, process_slots), state=state
    ),
    st.dictionaries(st.sampled_from(EXECUTORS), st.booleans(), min_size=1),
    st.integers(0, 5),
    st.integers(0, 5),
    MOSTLY.map(lambda ready: WorkerState.READY if ready else WorkerState.DRAINING),
)
BOOKS = book.worker_in(b"Idle")


class Cluster(RuleBasedStateMachine):
    """A cluster on a dict, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[str, Worker] = {}
        self.folders: set[str] = set()
        self.tree: dict[str, Task] = {}
        self.statuses: dict[str, Status] = {}
        self.accepted: list[str] = []
        self.joined = 0

    # --- the tree ------------------------------------------------------------------------------

    def snapshot(self, order: Callable[[Iterable[str]], list[str]] = sorted) -> Snapshot:
        """What a master reads; `order` is that in which ZooKeeper happens to list children."""
        assigned: dict[str, dict[str, Task]] = {name: {} for name in order(self.folders)}
        pending: dict[Queue, list[Task]] = {}
        for path, task in self.tree.items():
            if paths.parent(path) == paths.TASKS:
                pending.setdefault(queue_of(task), []).append(task)
            else:
                assigned[path.split("/")[2]][task.id] = task
        workers = {name: self.workers[name] for name in order(self.workers)}
        return Snapshot(workers, assigned, pending)

    def carry_out(self, move: Move) -> bool:
        """The `multi` of one move: whole, or not at all."""
        guarded = life.TRANSITIONS[_from(move), move.event].by is Role.MASTER and move.to_worker
        if guarded and not (move.to_worker in self.workers and move.to_worker in self.folders):
            return False
        if move.source not in self.tree or move.target in {*self.tree, *self.statuses}:
            return False
        del self.tree[move.source]
        if move.status is None:
            self.tree[move.target] = move.task
        else:
            self.statuses[move.target] = move.status
        return True

    def held(self, worker: str) -> list[Task]:
        folder = paths.assignments(worker)
        return [task for path, task in self.tree.items() if paths.parent(path) == folder]

    # --- what can happen -----------------------------------------------------------------------

    @initialize(workers=st.lists(OURS, max_size=3))
    def begin(self, workers: list[Worker]) -> None:
        for worker in workers:
            self.join(worker, folder=True)

    @rule(worker=OURS | st.just(BOOKS), folder=MOSTLY)
    def join(self, worker: Worker, folder: bool) -> None:
        self.joined += 1
        name = f"w{self.joined}"
        self.workers[name] = worker
        if folder:
            self.folders.add(name)

    @rule()
    def mend_folders(self) -> None:
        self.folders |= self.workers.keys()
        empty = {name for name in self.folders - self.workers.keys() if not self.held(name)}
        self.folders -= empty

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A session ends, whatever the worker was doing."""
        if self.workers:
            del self.workers[data.draw(st.sampled_from(sorted(self.workers)), "worker")]

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        if self.workers:
            name = data.draw(st.sampled_from(sorted(self.workers)), "worker")
            self.workers[name] = replace(self.workers[name], state=WorkerState.DRAINING)

    @rule(
        executors=st.lists(st.sampled_from([*EXECUTORS, RAW]), min_size=1, max_size=5),
        attempts=st.none() | st.integers(1, 3),
    )
    def submit(self, executors: list[str], attempts: int | None) -> None:
        for number, executor in enumerate(executors, len(self.accepted) + 1):
            if executor == RAW:
                task = Task(f"task-{number:010}", book.EXECUTOR, raw=True)
            else:
                task = Task(paths.task_id(CLIENT, number), executor, attempts=attempts)
            self.tree[paths.task(task.id)] = task
            self.accepted.append(task.id)

    @rule(data=st.data(), how=st.sampled_from(["complete", "fail", "hand back"]))
    def work(self, data: st.DataObject, how: str) -> None:
        """A worker that is there comes to an end with one of its tasks."""
        running = [(name, task) for name in sorted(self.workers) for task in self.held(name)]
        if running:
            name, task = data.draw(st.sampled_from(running), "task")
            if how == "complete":
                move = life.complete(task, name, NOW, NOW)
            elif how == "fail":
                move = life.fail(task, Attempt(name, Reason.FAILED), 2, NOW)
            else:
                move = life.hand_back(task, name)
            assert self.carry_out(move)

    # --- masters -------------------------------------------------------------------------------

    def plan(self) -> list[Move]:
        """A master's plan, after a look at whether it may make these moves."""
        snapshot = self.snapshot()
        moves = plan(snapshot, NOW)
        self.check_plan(snapshot, moves)
        return moves

    @rule()
    def plan_and_carry_out(self) -> None:
        """A quiet round: all moves go through, and there is nothing left to do."""
        assert all(self.carry_out(move) for move in self.plan())
        after = self.snapshot()
        assert plan(after, NOW) == [], "a plan carried out leaves nothing to plan"
        assert not [name for name in after.absent() if after.assigned[name]]
        self.check_nobody_waits_in_vain(after)

    @rule(data=st.data())
    def be_interrupted(self, data: st.DataObject) -> None:
        """A master dies with some moves carried out; which ones, nobody knows."""
        for move in self.plan():
            if data.draw(st.booleans(), f"{move.event} {move.task.id}"):
                assert self.carry_out(move)

    @rule(data=st.data())
    def be_overtaken(self, data: st.DataObject) -> None:
        """The cluster changes between reading and writing: what no longer fits is refused."""
        moves = self.plan()
        for step in data.draw(st.lists(st.sampled_from(["leave", "work", "submit"]), max_size=3)):
            if step == "leave":
                self.leave(data)
            elif step == "work":
                self.work(data, "complete")
            else:
                self.submit(["echo"], attempts=1)
        for move in moves:
            self.carry_out(move)

    @rule(random=st.randoms(use_true_random=False))
    def plan_twice(self, random: Random) -> None:
        """The plan depends on the tree alone, not on the order in which it was listed."""

        def shuffled(names: Iterable[str]) -> list[str]:
            listed = sorted(names)
            random.shuffle(listed)
            return listed

        moves = self.plan()
        assert self.plan() == moves
        assert plan(self.snapshot(shuffled), NOW) == moves

    # --- what must hold ------------------------------------------------------------------------

    def check_plan(self, snapshot: Snapshot, moves: list[Move]) -> None:
        """Each task moves at most once, by a master's right, to a worker that may have it."""
        assert all(count == 1 for count in Counter(move.task.id for move in moves).values())
        for move in moves:
            assert life.TRANSITIONS[_from(move), move.event].by is Role.MASTER
            assert move.worker not in snapshot.workers, "nobody is robbed of a task"
            if move.to_worker:
                worker = snapshot.workers[move.to_worker]
                assert move.to_worker in snapshot.assigned
                assert worker.state is WorkerState.READY
                assert move.task.executor in worker.executors
                assert move.task.raw or not worker.book

    def check_nobody_waits_in_vain(self, snapshot: Snapshot) -> None:
        """No pending task is left that a ready, able worker with a folder has room for."""
        for name, worker in snapshot.workers.items():
            if worker.state is not WorkerState.READY or name not in snapshot.assigned:
                continue
            held = snapshot.assigned[name].values()
            slots = worker.slots - len(held)
            processes = worker.process_slots - _processes(worker, held)
            for (executor, raw), waiting in snapshot.pending.items():
                if executor in worker.executors and (raw or not worker.book) and waiting:
                    inline = worker.executors[executor]
                    assert slots <= 0 or (not inline and processes <= 0), (name, executor)

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        """Conservation: pending, assigned or finished, and nowhere twice."""
        places = Counter(task.id for task in self.tree.values())
        for path in self.statuses:
            name = path.removeprefix(f"{paths.STATUS}/").replace("/", "-")
            places[name] += 1
        assert places == Counter(self.accepted)

    @invariant()
    def nobody_holds_too_much(self) -> None:
        """Slots and process slots bound what a worker holds, whoever planned it."""
        for name, worker in self.workers.items():
            held = self.held(name)
            assert len(held) <= worker.slots
            assert _processes(worker, held) <= worker.process_slots

    @invariant()
    def no_task_kills_without_end(self) -> None:
        """Whatever still runs has lost fewer workers than the limit."""
        assert all(task.losses < MAX_LOSSES for task in self.tree.values())

    def teardown(self) -> None:
        """With one willing worker, every task that was ever accepted comes to its end."""
        self.join(Worker(dict.fromkeys(EXECUTORS, True), 10_000, 0), folder=True)
        self.mend_folders()
        for _ in range(2):
            self.plan_and_carry_out()
            for name in self.workers:
                for task in self.held(name):
                    assert self.carry_out(life.complete(task, name, NOW, NOW))
        assert not self.tree
        assert len(self.statuses) == len(self.accepted)
        assert all(status.state in FINISHED for status in self.statuses.values())


def _processes(worker: Worker, held: Iterable[Task]) -> int:
    return sum(not worker.executors.get(task.executor, False) for task in held)


def _from(move: Move) -> State:
    return State.ASSIGNED if move.worker else State.PENDING


TestCluster = Cluster.TestCase
TestCluster.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)
