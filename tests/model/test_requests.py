"""How many requests the primary's bulk work takes, counted on the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import pytest

from masterworker.decisions import life
from masterworker.words import limits, paths, records
from masterworker.words.model import Task, Worker
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.operations import Create, Found, Operation
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import Survey
from tests.model.session import Answer, ModelSession
from tests.model.store import Store

T = TypeVar("T")

CLIENT = "0123456789abcdef"


class Counting(ModelSession):
    """A session that counts its requests, and reads as many znodes in one as ours does."""

    requests = 0

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, Found]]:
        for start in range(0, len(names), limits.READ_COUNT):
            part = names[start : start + limits.READ_COUNT]
            yield from zip(part, self.read(part), strict=True)

    def _send(self, request: Callable[[], T], writes: Sequence[Operation] = ()) -> Answer[T]:
        self.requests += 1
        return super()._send(request, writes)


@pytest.fixture
def session() -> Counting:
    """A session with a store of its own, in which the tree is ready."""
    counting = Counting(Store(), threading.Event())
    counting.start()
    counting.ensure_tree()
    return counting


@pytest.mark.parametrize(("workers", "most"), [(1_000, 13), (500, 13), (2, 9)])
def test_a_thousand_moves_take_few_requests(session: Counting, workers: int, most: int) -> None:
    """However many workers the tasks go to: the check of each worker travels beside its tasks."""
    names = [f"w{number}" for number in range(workers)]
    ids = [paths.task_id(CLIENT, number) for number in range(1, 1_001)]
    tasks = [Task(task, "echo") for task in ids]
    record = records.encode_worker(Worker({"echo": True}, 500, 1))
    session.commit(
        [
            *(Create(paths.assignments(name)) for name in names),
            *(Create(paths.worker(name), record, ephemeral=True) for name in names),
            *(Create(paths.task(task.id), records.encode_task(task, b"x")) for task in tasks),
        ]
    ).wait()
    survey = Survey(cast("Session", session))
    survey.refresh()
    session.requests = 0
    moves = [life.assign(task, names[n % workers]) for n, task in enumerate(tasks)]
    summary = Mover(cast("Session", session), survey, 0).carry_out(moves)
    assert (summary.done, summary.overtaken) == (1_000, 0)
    assert session.requests <= most
