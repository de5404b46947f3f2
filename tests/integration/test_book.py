"""The book's own clients and workers still work: raw tasks and plain statuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masterworker.dev.server import ZooKeeperServer
from masterworker.words.limits import BOOK_SLOTS
from masterworker.words.model import State
from tests.integration.book_protocol import BookWorker, book_client
from tests.integration.running import (
    Tally,
    audit,
    client,
    cluster,
    inspection,
    master,
    tree,
    worker,
)
from tests.waiting import eventually

ODD_PAYLOADS = [
    b"",
    b"\xc1",
    b"\xc1M",
    b"\xc1MX\x01t\x00\x00",
    b"\x00" * 20,
    b"done",
    "naïve\n".encode("utf-16"),
    b"x" * 500_000,
]


@pytest.fixture(params=["chroot", "root"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """Hosts with a chroot, and hosts without one, where the book has its tree."""
    if request.param == "chroot":
        hosts: str = request.getfixturevalue("hosts")
        with tree(hosts):
            yield hosts
    else:
        with ZooKeeperServer() as own, tree(own.hosts):  # at its root is room for one test only
            yield own.hosts


@pytest.fixture
def folders(hosts: str) -> Iterator[None]:
    """The tree has its folders, which the book's own programs take for granted."""
    with tree(hosts):
        yield


def test_everything_fits_anywhere(anywhere: str) -> None:
    """A book client, a book worker and ours work side by side, at the root and in a chroot."""
    reader = Tally("read")
    with cluster(anywhere, reader.executor), book_client(anywhere) as theirs:
        with BookWorker(anywhere) as book_worker, client(anywhere) as ours:
            raw = [theirs.submit(b"raw %d" % number) for number in range(30)]
            own = ours.submit_many([b"own %d" % number for number in range(30)])
            assert [theirs.status(name) for name in raw] == [b"done"] * len(raw)
            assert [future.result(20) for future in own] == [b"own %d" % n for n in range(30)]
            assert {data for _, data in book_worker.executed} <= {b"raw %d" % n for n in range(30)}
        report = audit(anywhere)
    assert (report.ok, report.lost, report.recorded_twice) == (True, 0, 0)
    executed = sorted([*reader.by_payload, *(data for _, data in book_worker.executed)])
    assert executed == sorted(b"%s %d" % (kind, n) for kind in (b"raw", b"own") for n in range(30))


def test_book_client_and_our_worker(hosts: str, folders: None) -> None:
    """The task of a book client runs on our worker, and ends in a status that says `done`."""
    with cluster(hosts, Tally("read").executor), book_client(hosts) as theirs:
        assert theirs.status(theirs.submit(b"Sample task")) == b"done"


def test_failed_raw_task_never_says_done(hosts: str, folders: None) -> None:
    """When our worker fails a raw task, the book client reads a status it takes for a failure."""
    with cluster(hosts, Tally("read", fail_first=99).executor), book_client(hosts) as theirs:
        assert theirs.status(theirs.submit(b"done")) == b"failed: failed"


@pytest.mark.parametrize("worker_kind", ["ours", "theirs"])
def test_raw_payloads_arrive_byte_for_byte(hosts: str, folders: None, worker_kind: str) -> None:
    """Whatever bytes a book client submits, short of our mark, reach the worker as they were."""
    reader = Tally("read")
    with master(hosts), book_client(hosts) as theirs:
        names = [theirs.submit(payload) for payload in ODD_PAYLOADS]
        if worker_kind == "ours":
            with worker(hosts, reader.executor):
                assert [theirs.status(name) for name in names] == [b"done"] * len(names)
            arrived = dict(reader.by_payload)
        else:
            with BookWorker(hosts) as book_worker:
                assert [theirs.status(name) for name in names] == [b"done"] * len(names)
            arrived = {data: 1 for _, data in book_worker.executed}
    assert arrived == dict.fromkeys(ODD_PAYLOADS, 1)


def test_book_worker_gets_raw_tasks_only(hosts: str, folders: None) -> None:
    """A `read` task of our own client waits for a worker of ours: a book worker cannot read it."""
    with master(hosts), BookWorker(hosts) as book_worker, client(hosts) as ours:
        own = ours.submit(b"own")
        ours.flush(20)
        with book_client(hosts) as theirs, inspection(hosts) as view:
            raw = [theirs.submit(b"raw %d" % number) for number in range(20)]
            assert [theirs.status(name) for name in raw] == [b"done"] * len(raw)
            assert view.task(own.task_id).state is State.PENDING
            with worker(hosts, Tally("read").executor):
                assert own.result(20) == b"own"
    assert {task for task, _ in book_worker.executed} == set(raw)


def test_book_worker_gets_no_more_than_its_slots(hosts: str, folders: None) -> None:
    """A book worker, which names no slots, has a few tasks at a time, and the rest wait."""
    with master(hosts), BookWorker(hosts, willing=False) as lazy, book_client(hosts) as theirs:
        names = [theirs.submit(b"x") for _ in range(BOOK_SLOTS + 5)]
        eventually(lambda: len(lazy.assigned()) == BOOK_SLOTS, what="its slots are full")
        with BookWorker(hosts) as willing:
            eventually(lambda: len(willing.executed) == 5, what="the others are run elsewhere")
            eventually(lambda: not willing.assigned(), what="and it is done with them")
        assert len(lazy.assigned()) == BOOK_SLOTS
        assert set(lazy.assigned()) < set(names)
        assert audit(hosts).ok


@pytest.mark.parametrize("heir", ["ours", "theirs"])
def test_tasks_of_a_book_worker_that_dies_are_recovered(
    hosts: str, folders: None, heir: str
) -> None:
    """Its raw tasks go to another worker, ours or the book's, and end with a plain status."""
    reader = Tally("read")
    with master(hosts), book_client(hosts) as theirs:
        with BookWorker(hosts, willing=False) as dying:
            names = [theirs.submit(b"raw %d" % number) for number in range(6)]
            eventually(lambda: len(dying.assigned()) == 6, what="the tasks are assigned")
        if heir == "ours":
            with worker(hosts, reader.executor):
                assert [theirs.status(name) for name in names] == [b"done"] * 6
            arrived = dict(reader.by_payload)
        else:
            with BookWorker(hosts) as other:
                assert [theirs.status(name) for name in names] == [b"done"] * 6
            arrived = {data: 1 for _, data in other.executed}
    assert arrived == {b"raw %d" % number: 1 for number in range(6)}


def test_book_worker_dies_between_its_two_writes(hosts: str, folders: None) -> None:
    """Its status is written, its assignment is not deleted: the first status stands, once."""
    reader = Tally("read")
    with (
        master(hosts),
        tree(hosts) as kazoo,
        inspection(hosts) as view,
        book_client(hosts) as theirs,
    ):
        with BookWorker(hosts, willing=False) as dying:
            name = theirs.submit(b"x")
            eventually(lambda: dying.assigned() == [name], what="the task is assigned")
            kazoo.create(f"/status/{name}", b"done by the first")
        with worker(hosts, reader.executor):

            def nowhere() -> bool:
                status = view.status()
                return not status.pending and not sum(status.assigned.values())

            eventually(nowhere, what="the task is neither pending nor assigned")
            assert reader.by_task == {name: 1}
            assert theirs.status(name) == b"done by the first"
