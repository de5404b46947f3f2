"""The plan: what it decides in the cases that the transcripts leave out.

tests/scenarios shows it case by case, tests/properties/test_plan_machine.py holds it to its
promises over whole histories.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from masterworker.decisions.life import Event
from masterworker.decisions.plan import Snapshot, plan, queue_of
from masterworker.words.model import Reason, State, Task, Worker

NOW = 1_700_000_000.0


def tasks(executor: str, count: int) -> list[Task]:
    """So many tasks for one executor."""
    return [Task(f"{executor}-{number}", executor) for number in range(count)]


def offering(slots: int, *executors: str) -> Worker:
    """A ready worker with these executors, all of them inline."""
    return Worker(dict.fromkeys(executors, True), slots, 0)


def test_nothing_to_do() -> None:
    """An empty tree, and one with idle workers only, need no moves."""
    assert plan(Snapshot(), NOW) == []
    assert plan(Snapshot({"a": offering(4, "echo")}, {"a": {}}), NOW) == []


def test_a_worker_without_a_folder_is_neither_absent_nor_able() -> None:
    """Whoever registered and has no folder yet is left alone until it has one."""
    snapshot = Snapshot({"a": offering(4, "echo")}, {"b": {}})
    assert snapshot.able() == {}
    assert snapshot.absent() == ["b"]


def test_the_queue_tells_raw_tasks_apart() -> None:
    """A raw task may go where one of ours may not, so it must not wait behind it."""
    assert queue_of(Task("t", "read")) == ("read", False)
    assert queue_of(Task("t", "read", raw=True)) == ("read", True)


def test_queues_take_turns() -> None:
    """A thousand tasks for one executor do not keep another executor's waiting."""
    snapshot = Snapshot(
        {"a": offering(6, "echo", "read")},
        {"a": {}},
        {("echo", False): tasks("echo", 1_000), ("read", False): tasks("read", 2)},
    )
    assert [move.task.id for move in plan(snapshot, NOW)] == [
        "echo-0", "read-0", "echo-1", "read-1", "echo-2", "echo-3",
    ]  # fmt: skip


def test_a_queue_nobody_serves_does_not_stop_the_others() -> None:
    """Tasks for an executor that no worker offers wait, and only they."""
    snapshot = Snapshot(
        {"a": offering(2, "echo")},
        {"a": {}},
        {("absent", False): tasks("absent", 3), ("echo", False): tasks("echo", 3)},
    )
    assert [move.task.id for move in plan(snapshot, NOW)] == ["echo-0", "echo-1"]


def test_recovered_tasks_go_before_pending_ones() -> None:
    """They have waited longest: the only free slot is for the lost worker's task."""
    lost = Task("echo-lost", "echo")
    snapshot = Snapshot(
        {"a": offering(1, "echo")},
        {"a": {}, "gone": {lost.id: lost}},
        {("echo", False): tasks("echo", 1)},
    )
    (move,) = plan(snapshot, NOW)
    assert move.event is Event.MOVE
    assert (move.worker, move.to_worker) == ("gone", "a")
    assert move.task.history[0].ended == NOW


def test_a_task_given_up_takes_no_slot() -> None:
    """What becomes a status leaves the room to the task behind it."""
    doomed = Task("echo-x", "echo")
    for _ in range(4):
        snapshot = Snapshot({}, {"gone": {doomed.id: doomed}})
        (move,) = plan(snapshot, NOW)
        doomed = move.task
    snapshot = Snapshot(
        {"a": offering(1, "echo")},
        {"a": {}, "gone": {doomed.id: doomed}},
        {("echo", False): tasks("echo", 1)},
    )
    given_up, assigned = plan(snapshot, NOW)
    assert given_up.event is Event.GIVE_UP
    assert given_up.status is not None
    assert (given_up.status.state, given_up.status.reason) == (State.FAILED, Reason.LOST)
    assert (assigned.task.id, assigned.to_worker) == ("echo-0", "a")


def test_the_order_in_which_workers_are_listed_does_not_matter() -> None:
    """ZooKeeper lists children in no order: the same tree gives the same plan."""
    workers = {name: offering(3, "echo") for name in "badc"}
    backwards = dict(reversed(workers.items()))
    folders: dict[str, dict[str, Task]] = {name: {} for name in workers}
    pending = {("echo", False): tasks("echo", 7)}
    assert plan(Snapshot(workers, folders, pending), NOW) == plan(
        Snapshot(backwards, dict(reversed(folders.items())), pending), NOW
    )


def test_a_deep_backlog_costs_only_what_can_be_assigned() -> None:
    """The plan looks no further into a queue than it finds room for."""
    looked_at = 0

    def endless() -> Iterator[Task]:
        nonlocal looked_at
        while True:
            looked_at += 1
            yield Task(f"echo-{looked_at}", "echo")

    snapshot = Snapshot({"a": offering(5, "echo")}, {"a": {}}, {("echo", False): endless()})
    assert len(plan(snapshot, NOW)) == 5
    assert looked_at == 6


def test_a_large_plan_is_quick() -> None:
    """Ten thousand tasks to a hundred workers are planned in well under a second."""
    workers = {f"w{number:03}": offering(100, "echo") for number in range(100)}
    folders: dict[str, dict[str, Task]] = {name: {} for name in workers}
    snapshot = Snapshot(workers, folders, {("echo", False): tasks("echo", 10_000)})
    began = time.process_time()
    moves = plan(snapshot, NOW)
    assert time.process_time() - began < 1.0, "seconds"
    loads = {name: sum(move.to_worker == name for move in moves) for name in workers}
    assert set(loads.values()) == {100}
