"""A tree of the first version, used by current programs, and what they leave for it."""

from __future__ import annotations

from kazoo.client import KazooClient

from masterworker.words import paths
from masterworker.words.model import Reason, State
from tests.integration.running import (
    ECHO,
    Tally,
    audit,
    client,
    client_of,
    cluster,
    inspection,
    master,
    tree,
)
from tests.unit import first_version
from tests.waiting import eventually

CLIENT = "00c0ffee00c0ffee"
GONE = "00c0ffee00c0ff00"
OLD_WORKER = "host-a-0123456789ab"


def put(kazoo: KazooClient, path: str, name: str) -> None:
    """Make a znode of one of the kept records."""
    kazoo.create(path, first_version.record(name), makepath=True)


def everything(kazoo: KazooClient, path: str) -> dict[str, bytes]:
    """The data of every child of a znode."""
    return {name: kazoo.get(f"{path}/{name}")[0] for name in kazoo.get_children(path)}


def test_tree_of_the_first_version_is_taken_over(hosts: str) -> None:
    """Every task in it finishes, every status stays, and the audit finds no loss."""
    reader = Tally("read")
    with tree(hosts) as kazoo:
        put(kazoo, f"/status/{CLIENT}", "ledger")  # 9 accepted, 4 taken, 2 expired: 3 to come
        for place, name in (
            (paths.task(f"{CLIENT}-2"), "task-full"),
            (paths.task(f"{CLIENT}-4"), "task-lost"),
            (paths.assignment(OLD_WORKER, f"{CLIENT}-1"), "task"),
            (paths.assignment(OLD_WORKER, "task-0000000001"), "task-raw"),
        ):
            put(kazoo, place, name)
        put(kazoo, f"/status/{GONE}", "ledger")
        for number, name in enumerate(("status-done", "status-failed", "status-lost"), start=7):
            put(kazoo, paths.status(paths.task_id(GONE, number)), name)
        kazoo.set("/epoch", first_version.record("master"))
        before = everything(kazoo, f"/status/{GONE}")
        with cluster(hosts, ECHO, reader.executor), inspection(hosts) as view:
            eventually(lambda: view.status().finished == 7, what="all tasks are finished")
            assert view.result(f"{CLIENT}-1") == b"hello"
            assert view.result(f"{CLIENT}-2") == bytes(range(256))
            assert view.result(f"{CLIENT}-4") == b"four workers died"
            recovered = view.task(f"{CLIENT}-1").history
            assert [(each.worker, each.reason) for each in recovered] == [(OLD_WORKER, Reason.LOST)]
            assert view.task(paths.task_id(GONE, 8)).state is State.FAILED
        assert reader.by_payload == {b"cmd": 1}
        assert kazoo.get("/status/task-0000000001")[0] == b"done"
        assert everything(kazoo, f"/status/{GONE}") == before
    report = audit(hosts)
    assert (report.ok, report.accepted, report.taken, report.finished) == (True, 19, 8, 7)


def test_first_version_can_read_what_it_is_given(hosts: str) -> None:
    """What its worker is assigned, its client gets as a status, and all who look find."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        announced = first_version.record("worker-ready")
        kazoo.create("/workers/old", announced, ephemeral=True)
        kazoo.create("/assign/old")
        put(kazoo, f"/status/{CLIENT}", "ledger-new")
        put(kazoo, paths.assignment(OLD_WORKER, f"{CLIENT}-3"), "task-attempts")
        futures = submitter.submit_many(
            [b"x", b"y"], executor="echo", attempts=3, options={"key": "value"}
        )
        with master(hosts):
            given = eventually(
                lambda: [tasks := everything(kazoo, "/assign/old")] * (len(tasks) == 3),
                what="the old worker has all tasks",
            )[0]
            for data in given.values():
                assert first_version.reads(data, "t")["executor"] == "echo"
            [who] = kazoo.get_children("/masters")
            for path in ("/master", "/epoch", paths.master(who)):
                assert first_version.reads(kazoo.get(path)[0], "m")["id"] == who
            kazoo.delete("/workers/old")
        with cluster(hosts):
            assert [future.result(20) for future in futures] == [b"x", b"y"]
            status = eventually(lambda: kazoo.exists(paths.status(f"{CLIENT}-3")))
            assert status
            fields = first_version.reads(kazoo.get(paths.status(f"{CLIENT}-3"))[0], "s")
            assert [row[:2] for row in fields["history"]] == [[OLD_WORKER, "lost"], ["old", "lost"]]
            [worker] = everything(kazoo, "/workers").values()
            assert first_version.reads(worker, "w")["executors"] == {"echo": True}
        books = kazoo.get(paths.statuses(client_of(futures[0].task_id)))[0]
        assert first_version.reads(books, "l")["accepted"] == 2
