"""Placement: which worker gets a task, and how full it is then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions import explain
from masterworker.decisions.placement import Load, Room, can_run, has_room
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


@given(
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.lists(st.sampled_from([ECHO, Task("c", "c"), Task("g", "gone")]), max_size=8),
    st.sampled_from([ECHO, Task("c", "c")]),
)
def test_the_numbers_alone_say_whether_there_is_room(
    slots: tuple[int, int], held: list[Task], task: Task
) -> None:
    """A load decides as the tasks themselves do; one that is not known is no wrong answer."""
    one = worker(max(slots), min(slots), echo=True, c=False)
    room = Room({"a": one}, {"a": held}).take(task) is not None
    in_processes = sum(task is not ECHO for task in held)
    assert has_room(one, task.executor, Load(len(held), in_processes)) == room
    assert has_room(one, task.executor, Load(len(held), None)) in (room, None)


def test_why_a_task_waits_tells_the_two_kinds_of_slots_apart() -> None:
    """Free slots of the other kind are no contradiction, and what is unknown is not claimed."""
    workers = {"w": worker(4_002, 2, echo=True, c=False)}

    def why(executor: str, load: Load) -> str:
        return explain.pending(
            Task("t", executor), primary="m", workers=workers, loads={"w": load}, now=0.0
        )

    taken = "every slot of the only worker offering executor 'c' is taken except those for inline"
    assert why("c", Load(2, 2)).startswith(taken)
    assert why("c", Load(4_002, 2)).startswith(taken)
    assert why("c", Load(5, 1)) == "it is about to be assigned"
    assert why("echo", Load(2, 2)) == "it is about to be assigned"
    assert why("echo", Load(4_002, 2)).endswith("offering executor 'echo' is taken")
    assert "may have no free slot" in why("c", Load(5, None))
