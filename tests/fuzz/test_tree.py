"""Hostile znodes all over the tree of a cluster at work: good tasks end, bad znodes are told."""

from __future__ import annotations

import contextlib
import logging
import tracemalloc
from collections.abc import Iterable, Iterator

import msgpack
import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from masterworker import MasterworkerError
from masterworker.cli.logs import MAX_LINE, TextFormatter
from masterworker.cli.output import MAX_CELL
from masterworker.decisions import audit as decisions
from masterworker.decisions.audit import PATH, REASON
from masterworker.words import limits, records
from masterworker.words.executor import Executor
from masterworker.words.model import Ledger, State, Status, Worker
from masterworker.zookeeper.tasklist import Wanted
from tests.cli.calling import mwctl
from tests.integration.running import (
    audit,
    books,
    client,
    cluster,
    inspection,
    master,
    tree,
    worker,
)
from tests.waiting import eventually

from . import hostile

TASKS = 300
NOBODY = "0123456789abcdef"
STRANGER = "fedcba9876543210"
"""Clients that never were; the second has no books either."""

LOCKED = [make_digest_acl("stranger", "secret", all=True)]

MEMORY = 24 * 1024 * 1024
"""Bytes that master, worker, client and audit together need at the most, beside the code: the
bomb's 8 MiB, and replies with hostile megabytes in them, twice each while they are taken in.
Measured: 10 MB."""

NAMES = [
    "a b",
    "line\u2028end",
    "\ufeffmark",
    "\u202eksat",
    "para\u2029graph",
    "tâche",
    "zero\u200bwidth",
    "..." + "x" * 300,
    "long" * 5_000,
    f"{NOBODY}-1\u00a0",
    f"{NOBODY}-\u0661",
]
"""Names that ZooKeeper takes (it refuses control characters itself) and that we do not."""

DATA = {
    "garbage": b"\x01t\x00\x05\xff\xfe\xfd",
    "cut": b"",
    "future": hostile.record(b"t", b"\x80", version=2)[3:],
    "kind": hostile.record(b"?", b"\x80")[3:],
    "bomb": hostile.record(b"t", hostile.BOMBS["lists in lists, all long"])[3:],
    "utf8": hostile.record(b"t", hostile.BOMBS["text that is not UTF-8"])[3:],
    "nan": hostile.record(b"t", hostile.BOMBS["not a number"])[3:],
    "megabyte": hostile.record(b"t", b"\x80", bytes(1_000_000))[3:],
}
"""What comes behind our mark, and is no record of anything."""

FOLDERS = ("/tasks", "/workers", "/masters", "/status", "/assign")


def plant(kazoo: KazooClient) -> list[str]:
    """Hostile znodes everywhere; the paths an audit has to name."""
    paths = []

    def put(path: str, data: bytes = b"", *, locked: bool = False) -> None:
        kazoo.create(path, data, acl=LOCKED if locked else None)
        paths.append(path)

    for folder in FOLDERS:
        for name in NAMES:
            put(f"{folder}/{name}", records.MARK)
    for number, data in enumerate(DATA.values(), start=1):
        data = records.MARK + data
        for folder in ("/workers", "/masters", "/status"):
            put(f"{folder}/bad{number}", data)
        put(f"/tasks/{STRANGER}-{number}", data)
    kazoo.create("/assign/nobody")
    put(f"/assign/nobody/{STRANGER}-100", records.MARK)
    for folder in ("/tasks", "/workers", "/status", "/assign"):
        put(f"{folder}/locked", locked=True)
    put("/status/plain", b"done")
    kazoo.create("/status/plain/child")
    kazoo.create(f"/status/{NOBODY}", records.encode_ledger(Ledger(1)))
    put(f"/status/{NOBODY}/1", records.encode_status(Status(State.DONE, "echo")))
    kazoo.create(f"/status/{NOBODY}/1/child")
    return paths


def told(findings: Iterable[str]) -> set[str]:
    """The paths of what was set aside; a stranger among the roles is told of once more."""
    subjects = {finding.partition(": ")[0] for finding in findings if finding.startswith("/")}
    return {subject for subject in subjects if not subject.endswith(" is not ephemeral")}


def test_good_tasks_end_and_bad_znodes_are_told(
    hosts: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within stated memory; and no line, of log or table, is long or moves a terminal."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(decisions, "FINDINGS", 1_000)
    with tree(hosts) as kazoo:
        bad = plant(kazoo)
        tracemalloc.start()
        with cluster(hosts, look_interval=0.2, folder_ttl=0.5), client(hosts) as submitter:
            payloads = [b"%d" % number for number in range(TASKS)]
            assert list(submitter.map("echo", payloads, timeout=60)) == payloads
            report = audit(hosts)
            with inspection(hosts) as view:
                assert view.tasks(Wanted(), 10_000).matching >= len(DATA)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    assert (report.lost, report.recorded_twice) == (0, 0)
    assert told(report.findings) == {path[:PATH] for path in bad}
    assert report.quarantined == len(bad)
    assert len(max(report.findings, key=len)) <= PATH + REASON + 2
    formatted = [TextFormatter().format(each) for each in caplog.records]
    assert all(line.isprintable() and len(line) < MAX_LINE + 200 for line in formatted)
    assert [line for line in formatted if "quarantined" in line]
    for command in (["audit"], ["tasks", "list"]):
        shown = mwctl(*command, "--hosts", hosts).out.decode().split("\n")
        assert len(shown) > len(DATA)
        assert all(line.isprintable() for line in shown)


def test_tables_keep_their_width(hosts: str) -> None:
    """A worker that calls its host whatever it likes does not widen every other line."""
    loud = Worker({f"executor-{n:055}": True for n in range(256)}, 1, 1, "\U000e0001" * 1_000)
    with tree(hosts) as kazoo:
        kazoo.create("/workers/loud", records.encode_worker(loud))
        kazoo.create("/workers/quiet", records.encode_worker(Worker({"echo": True}, 1, 1, "host")))
        lines = mwctl("status", "--hosts", hosts).lines
    assert max(map(len, lines)) < 3 * MAX_CELL
    [line] = [line for line in lines if line.startswith("  loud")]
    assert line.count("characters omitted") == 2
    assert line.isprintable()


def test_child_of_a_status_does_not_keep_the_others(hosts: str) -> None:
    """One status cannot be removed: the others of its folder expire, and it is reported."""
    status = records.encode_status(Status(State.DONE, "echo"))
    with tree(hosts) as kazoo:
        folder = f"/status/{NOBODY}"
        kazoo.create(folder, records.encode_ledger(Ledger(accepted=30)))
        for number in range(1, 31):
            kazoo.create(f"{folder}/{number}", status)
        kazoo.create(f"{folder}/7/child")
        with cluster(hosts, status_ttl=0.3):
            eventually(lambda: kazoo.get_children(folder) == ["7"], what="the others are gone")
            assert books(kazoo, NOBODY).expired == 29
        [finding] = audit(hosts).findings
    assert finding.startswith(f"{folder}/7: ")


@pytest.mark.parametrize(
    "accepted",
    [0, limits.MAX_COUNT, limits.MAX_COUNT - 11],
    ids=["too little", "too much", "too much for others"],
)
def test_master_writes_no_books_that_nobody_can_read(hosts: str, accepted: int) -> None:
    """A forged ledger is set aside before it spoils the sum of all, or is made worse."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        kazoo.set("/status", records.encode_ledger(Ledger(10, 10)))
        forged = f"/status/{NOBODY}"
        kazoo.create(forged, records.encode_ledger(Ledger(accepted, accepted)))
        if not accepted:
            kazoo.create(f"{forged}/1", records.encode_status(Status(State.DONE, "echo")))
        before = kazoo.get(forged)[0]
        with cluster(hosts, folder_ttl=0.3, status_ttl=0.3):
            with client(hosts) as other:
                assert other.submit(b"x", executor="echo").result(20) == b"x"
            assert submitter.submit(b"x", executor="echo").result(20) == b"x"
            eventually(
                lambda: records.decode_ledger(kazoo.get("/status")[0]).accepted == 12,
                what="both clients' folders are retired",
            )
        assert kazoo.get(forged)[0] == before


@contextlib.contextmanager
def failing_worker(hosts: str) -> Iterator[None]:
    """A master, and a worker whose executor `fail` always fails at length."""

    def fail(payload: bytes, _task: object) -> bytes:
        raise ValueError("x" * 5_000)

    with master(hosts, look_interval=0.2), worker(hosts, Executor("fail", fail, inline=True)):
        yield


def test_worker_outlives_a_history_that_fills_its_header(hosts: str) -> None:
    """A forged task whose next attempt could not be recorded is set aside, and no worker ends."""
    row = ["\U0001f600" * 200, "failed", "x" * limits.MAX_DETAIL, 1.0, 2.0]
    header = {
        "executor": "fail",
        "submitted": 1.0,
        "history": [row] * 20,
        "options": {"o": "x" * 7_500},
    }
    path = f"/tasks/{NOBODY}-1"
    with tree(hosts) as kazoo, client(hosts) as submitter:
        kazoo.create(path, hostile.record(b"t", msgpack.packb(header)))
        with failing_worker(hosts):
            for _ in range(2):
                with pytest.raises(MasterworkerError, match="failed on worker"):
                    submitter.submit(b"x", executor="fail").result(20)
            assert kazoo.exists(path)
        assert [finding for finding in audit(hosts).findings if finding.startswith(path)]
