"""The list of tasks: the newest are kept, in order, whatever order they are found in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masterworker.words.model import State
from masterworker.words.paths import task_id
from masterworker.zookeeper.tasklist import TaskList, Wanted
from masterworker.zookeeper.views import TaskRow

rows = st.builds(
    TaskRow,
    id=st.builds(task_id, st.sampled_from(["a" * 16, "b" * 16]), st.integers(1, 20)),
    state=st.sampled_from([State.PENDING, State.DONE]),
    executor=st.sampled_from(["echo", "read"]),
    worker=st.just(""),
    attempts=st.just(0),
    submitted=st.just(1.0),
)


@given(st.lists(rows, max_size=30, unique_by=lambda row: row.id), st.sampled_from([None, 1, 3, 8]))
def test_the_newest_are_kept_in_order(found: list[TaskRow], limit: int | None) -> None:
    """Tasks of one moment follow their client's numbers, 2 before 10."""
    listed = TaskList(limit)
    for row in found:
        listed.add(row)
    ids = [(row.id[:16], int(row.id[17:])) for row in listed.rows()]
    every = sorted((row.id[:16], int(row.id[17:])) for row in found)
    assert ids == every[-(limit or len(every) or 1) :]
    assert listed.matching == len(found)


def test_a_task_that_moves_meanwhile_counts_once() -> None:
    """It is seen in both places, and shown where it was last."""
    listed = TaskList(5)
    one = TaskRow("a" * 16 + "-1", State.PENDING, "echo", "", 0, 1.0)
    listed.add(one)
    listed.add(one._replace(state=State.ASSIGNED, worker="w"))
    assert [row.state for row in listed.rows()] == [State.ASSIGNED]
    assert listed.matching == 1


@given(st.lists(rows, max_size=30), st.sampled_from([None, 1, 3]))
def test_a_task_counts_once_however_often_it_is_seen(
    found: list[TaskRow], limit: int | None
) -> None:
    """Also one that was dropped because newer ones took its place."""
    listed = TaskList(limit)
    for row in found:
        listed.add(row)
    latest = {row.id: row for row in found}
    assert listed.matching == len(latest)
    assert list(listed.rows()) == [latest[row.id] for row in listed.rows()]


def test_a_dropped_task_that_moves_is_not_counted_again() -> None:
    """With room for one of two tasks, there are two matches wherever the older one is seen."""
    listed = TaskList(1)
    older, newer = (
        TaskRow(task_id("a" * 16, number), State.PENDING, "echo", "", 0, float(number))
        for number in (1, 2)
    )
    for row in (older, newer, older._replace(state=State.ASSIGNED, worker="w")):
        listed.add(row)
    assert list(listed.rows()) == [newer]
    assert listed.matching == 2


def test_everything_that_is_given_has_to_match() -> None:
    """Several values of one filter are alternatives; several filters are not."""
    row = TaskRow("a" * 16 + "-1", State.FAILED, "echo", "w", 1, 100.0)
    matching = Wanted([State.FAILED, State.DONE], ["echo"], ["w"], ["a" * 16], 100.0, 100.0)
    assert matching.matches(row)
    assert Wanted().matches(row)
    for wanted in (
        Wanted([State.DONE]),
        Wanted(executors=["read"]),
        Wanted(workers=["x"]),
        Wanted(clients=["b" * 16]),
        Wanted(since=100.1),
        Wanted(until=99.9),
    ):
        assert not wanted.matches(row)
