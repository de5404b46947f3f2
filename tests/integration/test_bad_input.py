"""Untrusted input in the tree is quarantined and reported, and the rest continues."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgpack
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from masterworker import MasterworkerError
from masterworker.words import paths, records
from masterworker.words.model import Ledger, State, Status, Task
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.book_protocol import BookWorker, book_client
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
    wait_until_settled,
    worker,
)
from tests.waiting import eventually

STRANGER = "0123456789abcdef"  # a client that never was
GARBAGE = records.MARK + b"\x01t\x00\x05\xff\xfe\xfd"
LOCKED = [make_digest_acl("stranger", "secret", all=True)]

Plant = Callable[[KazooClient], str]


def record(kind: bytes, header: bytes, version: int = records.FORMAT) -> bytes:
    """A record with any header."""
    return records.MARK + struct.pack("!BcH", version, kind, len(header)) + header


def bomb() -> bytes:
    """Lists in lists, each of which claims to be as long as is allowed."""
    return record(b"t", b"\xdc\x03\xe8" * 20_000)


def at(path: str, data: bytes) -> Plant:
    """Plants this znode, with its parents."""

    def plant(kazoo: KazooClient) -> str:
        kazoo.create(path, data, makepath=True)
        return path

    return plant


def locked(path: str, data: bytes = b"") -> Plant:
    """Creates a znode that no other identity may read or change."""

    def plant(kazoo: KazooClient) -> str:
        kazoo.create(path, data, acl=LOCKED)
        return path

    return plant


def sound_task_with_a_child(kazoo: KazooClient) -> str:
    """A task that cannot be moved, since something lies below it."""
    task = Task(f"{STRANGER}-1", "echo")
    path = paths.task(task.id)
    kazoo.create(path, records.encode_task(task, b"x"))
    kazoo.create(f"{path}/child")
    return path


def numberless_status(kazoo: KazooClient) -> str:
    """A child of a client's folder that no task of the client's can have."""
    kazoo.create(f"/status/{STRANGER}", records.encode_ledger(Ledger()))
    kazoo.create(f"/status/{STRANGER}/xx", b"x")
    return f"/status/{STRANGER}/xx"


HOSTILE: dict[str, Plant] = {
    "garbage behind the mark": at(f"/tasks/{STRANGER}-1", GARBAGE),
    "a newer format": at(f"/tasks/{STRANGER}-1", record(b"t", msgpack.packb({}), 2)),
    "a msgpack bomb": at(f"/tasks/{STRANGER}-1", bomb()),
    "a record of another kind": at(f"/tasks/{STRANGER}-1", records.encode_ledger(Ledger())),
    "a record under a foreign name": at(
        "/tasks/task-1", records.encode_task(Task("x", "echo"), b"")
    ),
    "more than can be moved": at("/tasks/task-1", bytes(1_048_000)),
    "a task with a child": sound_task_with_a_child,
    "an unreadable task": locked(f"/tasks/{STRANGER}-1"),
    "a name with blanks": at("/tasks/a b", b"x"),
    "a name beyond ASCII": at("/tasks/tâche", b"x"),
    "a name that turns the line round": at("/tasks/\u202eksat", b"x"),
    "a name too long": at("/tasks/" + "x" * 250, b"x"),
    "a worker of garbage": at("/workers/x", GARBAGE),
    "a worker's name with blanks": at("/workers/a b", b"Idle"),
    "an unreadable worker": locked("/workers/x"),
    "an unreadable folder of assignments": locked("/assign/x"),
    "a folder's name with blanks": at("/assign/a b", b""),
    "an assignment of garbage to nobody": at(f"/assign/x/{STRANGER}-1", GARBAGE),
    "a ledger of garbage": at(f"/status/{STRANGER}", GARBAGE),
    "a ledger that settles too much": at(
        f"/status/{STRANGER}", records.encode_ledger(Ledger(accepted=1, taken=2))
    ),
    "an unreadable ledger": locked(f"/status/{STRANGER}"),
    "a status of garbage": at(f"/status/{STRANGER}/1", GARBAGE),
    "a status without a number": numberless_status,
    "a master of garbage": at("/masters/x", GARBAGE),
    "a status's name with blanks": at("/status/a b", b"x"),
    "an unreadable status": locked("/status/task-1"),
}


# A master has no reason to read these.
SEEN_BY_THE_AUDIT_ALONE = [
    "a status of garbage",
    "a status without a number",
    "a master of garbage",
]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_znode_is_set_aside(
    hosts: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, the audit reports it by its path, it stays, and tasks go on beside it."""
    with tree(hosts) as kazoo:
        path = HOSTILE[kind](kazoo)
        before = kazoo.exists(path)
        with (
            cluster(hosts, ECHO, Tally("read").executor, look_interval=0.1, folder_ttl=1.0),
            client(hosts) as submitter,
        ):
            for _ in range(3):
                assert list(submitter.map("echo", [b"x"] * 50, timeout=20)) == [b"x"] * 50
            report = audit(hosts)
            seen = 0 if kind in SEEN_BY_THE_AUDIT_ALONE else 1
            eventually(lambda: complaints(caplog, path) >= seen, what="the master complained")
        assert kazoo.exists(path) == before
    assert [finding for finding in report.findings if finding.startswith(path)]
    assert (report.lost, report.recorded_twice) == (0, 0)
    assert complaints(caplog, path) == seen


def complaints(caplog: pytest.LogCaptureFixture, path: str) -> int:
    """How often a path was named in a warning, escaped as it has to be."""
    texts = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    return sum(repr(path)[1:-1] in text for text in texts)


def test_garbage_among_a_workers_assignments(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    """A live worker and the master each set it aside, once, and the worker goes on."""
    with cluster(hosts, look_interval=0.1), tree(hosts) as kazoo, client(hosts) as submitter:
        [name] = eventually(lambda: kazoo.get_children("/assign"), what="the worker is there")
        path = at(f"/assign/{name}/{STRANGER}-1", GARBAGE)(kazoo)
        for _ in range(3):
            assert list(submitter.map("echo", [b"x"] * 50, timeout=20)) == [b"x"] * 50
        assert kazoo.get(path)[0] == GARBAGE
        assert [finding for finding in audit(hosts).findings if finding.startswith(path)]
        with inspection(hosts) as view:
            assert "quarantined" in view.task(f"{STRANGER}-1").why
        eventually(lambda: complaints(caplog, path) == 2, what="both complained")


def test_worker_overwritten_keeps_its_tasks(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose znode turns to garbage gets no more tasks, and those it has stay with it."""
    with (
        master(hosts),
        tree(hosts) as kazoo,
        book_client(hosts) as theirs,
        BookWorker(hosts, willing=False) as overwritten,
    ):
        names = {theirs.submit(b"x") for _ in range(3)}
        eventually(lambda: set(overwritten.assigned()) == names, what="it has its tasks")
        path = f"/workers/{overwritten.name}"
        kazoo.set(path, GARBAGE)
        eventually(lambda: complaints(caplog, path) == 1, what="the master has seen it")
        with BookWorker(hosts) as other:
            more = [theirs.submit(b"y") for _ in range(20)]
            assert [theirs.status(name) for name in more] == [b"done"] * 20
        assert set(overwritten.assigned()) == names
        assert {task for task, _ in other.executed} == set(more)
        [finding] = audit(hosts).findings
        assert finding.startswith(f"{path}: ")


@pytest.mark.parametrize("path", ["/master", "/epoch"])
def test_office_overwritten_is_filled_again(hosts: str, path: str) -> None:
    """The record in /master becomes unreadable: a new term starts, and tasks continue."""
    with cluster(hosts), tree(hosts) as kazoo, client(hosts) as submitter:
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"
        epoch = kazoo.exists("/epoch").version
        kazoo.set(path, GARBAGE)
        assert submitter.submit(b"y", executor="echo").result(20) == b"y"
        eventually(lambda: kazoo.exists("/epoch").version > epoch + (path == "/epoch"))
        eventually(lambda: audit(hosts).ok, what="the audit is content")


def test_office_held_by_a_stranger_is_reported(hosts: str) -> None:
    """While a stranger holds /master, a master waits, and the audit names the holder."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        kazoo.create("/master", GARBAGE, ephemeral=True)
        with cluster(hosts):
            future = submitter.submit(b"x", executor="echo")
            eventually(lambda: kazoo.get_children("/masters"), what="the master stands by")
            [finding] = audit(hosts).findings
            assert finding.startswith("/master: ")
            assert not future.done()
            kazoo.delete("/master")
            assert future.result(20) == b"x"


def test_client_whose_ledger_is_overwritten_ends(hosts: str) -> None:
    """It cannot know any more what was accepted: its futures raise, and name the ledger."""
    with cluster(hosts), tree(hosts) as kazoo, client(hosts) as other:
        with client(hosts) as victim:
            future = victim.submit(b"x", executor="echo")
            assert future.result(20) == b"x"
            folder = paths.statuses(client_of(future.task_id))
            wait_until_settled(kazoo, client_of(future.task_id), 1)
            kazoo.set(folder, GARBAGE)
            with pytest.raises(MasterworkerError, match=folder):
                victim.submit(b"y", executor="echo").result(20)
        assert other.submit(b"z", executor="echo").result(20) == b"z"
        assert kazoo.get(folder)[0] == GARBAGE


def test_overwritten_sum_of_ledgers_stops_only_the_retiring(
    hosts: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The ledger of /status itself is garbage: the master continues; no folder is retired."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        kazoo.set("/status", GARBAGE)
        with cluster(hosts, folder_ttl=0.3), client(hosts):
            assert submitter.submit(b"x", executor="echo").result(20) == b"x"
            eventually(lambda: len(kazoo.get_children("/status")) == 2, what="two folders")
            eventually(
                lambda: complaints(caplog, "/status") == 1,
                what="the master tried to retire a folder",
            )
            assert submitter.submit(b"y", executor="echo").result(20) == b"y"
        assert kazoo.get("/status")[0] == GARBAGE
        assert len(kazoo.get_children("/status")) == 2
        assert [finding[:9] for finding in audit(hosts).findings] == ["/status: "]


# --- one bad operation in a batch ----------------------------------------------------------------


def test_bad_submission_does_not_stop_its_batch(hosts: str) -> None:
    """One task of a batch exists already: its future fails, all the others are accepted and run."""
    with cluster(hosts), tree(hosts) as kazoo, client(hosts) as submitter:
        first = submitter.submit(b"0", executor="echo")
        assert first.result(20) == b"0"
        client_id = client_of(first.task_id)
        at(f"/tasks/{client_id}-100", GARBAGE)(kazoo)
        futures = submitter.submit_many([b"%d" % n for n in range(2, 201)], executor="echo")
        bad = futures.pop(98)
        with pytest.raises(MasterworkerError, match=f"did not accept task {client_id}-100"):
            bad.result(20)
        assert [future.result(20)[:3] for future in futures] == [
            b"%d" % n for n in range(2, 201) if n != 100
        ]
        wait_until_settled(kazoo, client_id, 199)


def test_bad_status_does_not_stop_its_batch(hosts: str) -> None:
    """One task of a batch has a status already: that one stands, the others are recorded."""
    early = records.encode_status(Status(State.DONE, "echo"), b"early")
    with master(hosts), tree(hosts) as kazoo, client(hosts) as submitter:
        futures = submitter.submit_many([b"x"] * 200, executor="echo")
        submitter.flush(20)
        submitter.close()
        client_id = client_of(futures[0].task_id)
        kazoo.create(f"/status/{client_id}/100", early)
        with worker(hosts), inspection(hosts) as view:
            eventually(lambda: audit_numbers(hosts) == (0, 0, 200), what="all are finished")
            results = [view.result(future.task_id) for future in futures]
    assert results == [b"x"] * 99 + [b"early"] + [b"x"] * 100


def test_bad_assignment_does_not_stop_its_batch(hosts: str, chroot: str, proxy: Proxy) -> None:
    """One task of a batch is assigned already: it stays, and is not tried again and again."""
    with (
        tree(hosts) as kazoo,
        book_client(hosts) as theirs,
        BookWorker(hosts, willing=False) as book_worker,
    ):
        names = [theirs.submit(b"x") for _ in range(8)]
        kazoo.create(f"/assign/{book_worker.name}/{names[4]}", b"x")
        with master(proxy.hosts(chroot), look_interval=0.05):
            eventually(lambda: kazoo.get_children("/tasks") == [names[4]])
            assert sorted(book_worker.assigned()) == names
            [finding] = audit(hosts).findings
            writes, looks = proxy.counts[Op.MULTI], proxy.counts[Op.GET_CHILDREN]
            eventually(lambda: proxy.counts[Op.GET_CHILDREN] > looks + 20, what="it looks again")
            assert proxy.counts[Op.MULTI] == writes
    assert finding.startswith(f"task {names[4]} is in more than one place: ")


def audit_numbers(hosts: str) -> tuple[int, int, int]:
    """How many tasks are pending, assigned and finished."""
    report = audit(hosts)
    return report.pending, report.assigned, report.finished
