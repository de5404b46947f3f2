"""Placement: which worker gets a task, and how full it is then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions.placement import Room, can_run
from masterworker.words.model import Task, Worker, WorkerState
from tests.unit import strategies  # noqa: F401 - sets the profile

ECHO = Task("t", "echo")
READ = Task("t", "read", raw=True)


def worker(slots: int = 2, processes: int = 2, state: str = "ready", **offers: bool) -> Worker:
    """A worker that offers these executors, each inline or not."""
    return Worker(offers, slots, processes, state=WorkerState(state))


def takes(room: Room, task: Task, most: int = 100) -> list[str]:
    """Who gets one task after another like `task`, until nobody has room."""
    chosen: list[str] = []
    while len(chosen) < most and (name := room.take(task)) is not None:
        chosen.append(name)
    return chosen


def test_a_worker_runs_what_it_offers() -> None:
    """The executor has to be offered, and the worker ready."""
    assert can_run(worker(echo=True), ECHO)
    assert not can_run(worker(read=True), ECHO)
    assert not can_run(worker(echo=True, state="draining"), ECHO)


def test_a_worker_of_the_books_gets_raw_tasks_only() -> None:
    """It would take one of our records for the payload itself."""
    book = Worker({"read": True}, 8, 0, book=True)
    assert can_run(book, READ)
    assert not can_run(book, Task("t", "read"))
    assert can_run(worker(read=False), READ), "ours understand both"


def test_load_spreads_evenly() -> None:
    """The one with the most room is next, and ties go by name."""
    room = Room({"b": worker(2, echo=True), "a": worker(3, echo=True)}, {})
    assert room.free() == 5
    assert takes(room, ECHO) == ["a", "a", "b", "a", "b"]
    assert room.free() == 0


def test_what_is_held_takes_room() -> None:
    """Tasks already assigned are counted, also those that no executor offered is for."""
    room = Room({"a": worker(3, echo=True)}, {"a": [ECHO, Task("x", "withdrawn")]})
    assert takes(room, ECHO) == ["a"]


def test_processes_are_bounded_apart() -> None:
    """Process slots bound what runs in children; inline tasks use the slots beyond them."""
    room = Room({"a": worker(4, 1, echo=True, command=False)}, {})
    assert takes(room, Task("c", "command")) == ["a"]
    assert takes(room, ECHO) == ["a", "a", "a"]


def test_inline_tasks_crowd_out_processes() -> None:
    """A process slot is of no use without a free slot."""
    room = Room({"a": worker(3, 3, echo=True, command=False)}, {"a": [ECHO, ECHO]})
    assert takes(room, Task("c", "command")) == ["a"]
    assert takes(room, ECHO) == []


def test_an_overfull_worker_gets_nothing() -> None:
    """A worker that announced fewer slots than it holds tasks has no room, and hides none."""
    room = Room({"a": worker(1, echo=True), "b": worker(1, echo=True)}, {"a": [ECHO, ECHO, ECHO]})
    assert room.free() == 1
    assert takes(room, ECHO) == ["b"]


def test_a_draining_worker_offers_no_room() -> None:
    """Its free slots do not count."""
    room = Room({"a": worker(5, echo=True, state="draining")}, {})
    assert room.free() == 0
    assert takes(room, ECHO) == []


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
    st.lists(st.sampled_from([ECHO, Task("c", "c")]), max_size=80),
)
def test_the_choice_is_always_the_emptiest(
    slots: dict[str, tuple[int, int]], asked: list[Task]
) -> None:
    """Checked against the plain definition: most room first, then by name; else nobody."""
    workers = {name: worker(*numbers, echo=True, c=False) for name, numbers in slots.items()}
    room = Room(workers, {})
    free = {name: one.slots for name, one in workers.items()}
    processes = {name: one.process_slots for name, one in workers.items()}
    for task in asked:
        inline = task is ECHO
        left = {n: free[n] if inline else min(free[n], processes[n]) for n in workers}
        best = min(left, key=lambda n: (-left[n], n), default=None)
        expected = best if best is not None and left[best] > 0 else None
        assert room.take(task) == expected
        if expected is not None:
            free[expected] -= 1
            processes[expected] -= not inline
    assert room.free() == sum(max(0, left) for left in free.values())
