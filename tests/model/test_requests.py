"""How many requests the primary's bulk work takes, counted on the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import pytest

from masterworker.decisions import life
from masterworker.words import limits, paths, records
from masterworker.words.errors import ConnectionLost
from masterworker.words.model import Attempt, Ledger, Reason, State, Status, Task, Worker
from masterworker.zookeeper.cleaner import Cleaner
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.operations import Create, Delete, Found, Operation, Set, Znode
from masterworker.zookeeper.removing import REMOVED_TOGETHER
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import Survey
from tests.model.session import Answer, ModelSession
from tests.model.store import Store

T = TypeVar("T")

CLIENT = "0123456789abcdef"


class Counting(ModelSession):
    """A session that counts its requests, and reads as many znodes in one as ours does."""

    requests = 0
    broken = False
    lose_replies = False
    """Whether the connection breaks after each multi is carried out, before it is answered."""

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, Found]]:
        for start in range(0, len(names), limits.READ_COUNT):
            part = names[start : start + limits.READ_COUNT]
            yield from zip(part, self.read(part), strict=True)

    def _send(self, request: Callable[[], T], writes: Sequence[Operation] = ()) -> Answer[T]:
        self.requests += 1
        if self.broken:
            raise ConnectionLost("there is no connection")
        answer = super()._send(request, writes)
        if writes and self.lose_replies:
            self.cut(arriving=len(self.under_way))
        return answer


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


def test_a_task_is_read_again_after_a_move_of_unknown_outcome(session: Counting) -> None:
    """It may have failed and come back meanwhile: what is known of its history is out of date."""
    task = Task(paths.task_id(CLIENT, 1), "echo")
    record = records.encode_worker(Worker({"echo": True}, 1, 1))
    session.commit(
        [
            Create(paths.assignments("w")),
            Create(paths.worker("w"), record, ephemeral=True),
            Create(paths.task(task.id), records.encode_task(task, b"x")),
        ]
    ).wait()
    survey = Survey(cast("Session", session))
    survey.refresh()
    mover = Mover(cast("Session", session), survey, 0)
    session.lose_replies = True
    assert mover.carry_out([life.assign(task, "w")]).unknown == 1
    session.lose_replies = False
    session.connect(session.replica)
    failed = Attempt("w", Reason.FAILED, "no", 1.0, 2.0)
    back = records.encode_task(task._replace(attempts=2, history=(failed,)), b"x")
    returned = (Delete(paths.assignment("w", task.id)), Create(paths.task(task.id), back))
    assert session.commit(returned).wait() is None
    survey.refresh()
    pending = [one for queue in survey.snapshot().pending.values() for one in queue]
    assert [one.history for one in pending] == [(failed,)]


# --- housekeeping ----------------------------------------------------------------------------

STATUS = records.encode_status(Status(State.DONE, "echo"), b"result")


def folders(session: Counting, count: int, statuses: int) -> list[str]:
    """Make the folders of so many clients that are gone, each with that many unread statuses."""
    ids = [f"{number:016x}" for number in range(count)]
    ledger = Ledger(accepted=3, taken=3 - statuses)
    creates = []
    for client in ids:
        creates.append(Create(paths.statuses(client)))
        creates += [
            Create(paths.status(paths.task_id(client, n)), STATUS) for n in range(1, statuses + 1)
        ]
    books = [Set(paths.statuses(client), records.encode_ledger(ledger)) for client in ids]
    assert session.commit([*creates, *books]).wait() is None
    return ids


def swept(session: Counting, before_step: Callable[[int], None] = lambda _: None) -> list[int]:
    """Let a sweep see what is there, and another remove it; the requests of each of its steps.

    `before_step` is called before each step of the second, with its number.
    """
    now = 0.0
    ours = cast("Session", session)
    cleaner = Cleaner(ours, Survey(ours), 0, status_ttl=1, folder_ttl=1, grace=1, clock=lambda: now)
    cleaner.sweep()
    now = 10.0
    steps: list[int] = []
    done = False
    while not done:
        before_step(len(steps))
        before = session.requests
        done = cleaner.work(0.0, lambda: False)
        steps.append(session.requests - before)
    assert not cleaner.is_sweeping
    return steps


def total(session: Counting) -> Ledger:
    """The sum of the ledgers of retired folders."""
    data = session.get(paths.STATUS)
    assert data is not None
    return records.decode_ledger(data.data) if data.data else Ledger()


def names(session: Counting) -> list[str]:
    """What is in /status now."""
    return session.children(paths.STATUS).wait() or []


def test_a_thousand_settled_folders_are_retired_in_few_requests(session: Counting) -> None:
    """Reading and retiring them is cut into steps of few requests, not 2,017 in a row."""
    folders(session, 1_000, 0)
    steps = swept(session)
    assert names(session) == []
    assert total(session) == Ledger(accepted=3_000, taken=3_000)
    assert sum(steps) <= 25
    assert max(steps) <= 10


def test_a_thousand_folders_are_emptied_in_few_requests(session: Counting) -> None:
    """Those of several clients travel together, and each ledger counts what was removed."""
    ids = folders(session, 1_000, 2)
    steps = swept(session)
    for _, found in session.read_each([paths.statuses(client) for client in ids]):
        assert isinstance(found, Znode)
        assert found.children == 0
        assert records.decode_ledger(found.data) == Ledger(accepted=3, taken=1, expired=2)
    assert sum(steps) <= 100
    assert max(steps) <= 10


def test_a_folder_of_many_statuses_is_emptied_step_by_step(session: Counting) -> None:
    """No step removes more than one request can."""
    [client] = folders(session, 1, 3)
    folder = paths.statuses(client)
    ledger = records.encode_ledger(Ledger(accepted=1_003))
    more = [Create(f"{folder}/{n}", STATUS) for n in range(4, 1_004)]
    session.commit([*more, Set(folder, ledger)]).wait()
    steps = swept(session)
    found = session.get(folder)
    assert found is not None
    assert (found.children, records.decode_ledger(found.data).expired) == (0, 1_003)
    assert max(steps) <= 4


def test_a_folder_that_is_refused_keeps_no_other(session: Counting) -> None:
    """Some clients come back while their folders are judged: theirs stay, all others go."""
    ids = folders(session, 300, 0)
    back = {ids[0], ids[7], ids[150], ids[299]}

    def come_back(step: int) -> None:
        if step == 1:  # all is read, nothing is removed yet
            ledger = records.encode_ledger(Ledger(accepted=4, taken=3))
            session.commit([Set(paths.statuses(client), ledger) for client in back]).wait()

    swept(session, come_back)
    assert set(names(session)) == back
    assert total(session) == Ledger(accepted=3 * 296, taken=3 * 296)


def test_statuses_that_are_taken_meanwhile_are_not_counted_as_expired(session: Counting) -> None:
    """A client that takes its results first wins, and other clients' folders are emptied."""
    ids = folders(session, 30, 2)
    folder = paths.statuses(ids[3])

    def take(step: int) -> None:
        if step == 2:  # the folders are listed
            ledger = records.encode_ledger(Ledger(accepted=3, taken=2, batch=1))
            session.commit([Delete(f"{folder}/1"), Set(folder, ledger)]).wait()

    swept(session, take)
    left = [one for one in ids if session.children(paths.statuses(one)).wait()]
    assert left == [ids[3]]
    assert session.children(folder).wait() == ["2"]


def test_a_primary_that_was_replaced_removes_nothing(session: Counting) -> None:
    """The epoch changes in the midst of a sweep: what was removed stands, no more is."""
    ids = folders(session, 450, 0)

    def depose(step: int) -> None:
        if step == 2:  # after the first part
            session.commit([Set(paths.EPOCH, b"")]).wait()

    swept(session, depose)
    assert len(names(session)) == len(ids) - REMOVED_TOGETHER
    assert total(session).accepted == 3 * REMOVED_TOGETHER


def test_something_urgent_ends_a_slice_of_the_sweep(session: Counting) -> None:
    """One step is made each time, however urgent the rest is; a sweep cut short begins anew."""
    folders(session, 1_100, 0)
    ours = cast("Session", session)
    cleaner = Cleaner(ours, Survey(ours), 0, status_ttl=1, folder_ttl=1, grace=1)
    assert not cleaner.work(60.0, lambda: True)
    assert not cleaner.work(60.0, lambda: True)
    session.broken = True
    with pytest.raises(ConnectionLost):
        cleaner.work(60.0, lambda: False)
    assert not cleaner.is_sweeping
    session.broken = False
    assert cleaner.work(60.0, lambda: False)


def test_folders_of_workers_are_mended_together(session: Counting) -> None:
    """Those of a thousand workers, made and removed, take few requests, also where one fails."""
    ours = cast("Session", session)
    workers = [f"w{number}" for number in range(500)]
    record = records.encode_worker(Worker({"echo": True}, 1, 1))
    session.commit(
        [
            *(Create(paths.worker(name), record, ephemeral=True) for name in workers),
            *(Create(paths.assignments(f"lost{number}")) for number in range(500)),
        ]
    ).wait()
    survey = Survey(ours)
    now = 0.0
    cleaner = Cleaner(ours, survey, 0, status_ttl=1, folder_ttl=1, grace=1, clock=lambda: now)
    survey.refresh()
    session.requests = 0
    cleaner.mend_folders()
    assert session.requests == 2
    survey.refresh()
    session.commit([Create(paths.assignment("lost7", f"{CLIENT}-1"), b"x")]).wait()
    session.requests = 0
    now = 10.0
    cleaner.mend_folders()
    assert session.requests <= 5
    assert set(session.children(paths.ASSIGN).wait() or []) == {*workers, "lost7"}
