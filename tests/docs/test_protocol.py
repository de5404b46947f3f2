"""The page on the protocol, held against the code: the tree, records, transitions, bounds."""

from __future__ import annotations

import re

import msgpack
import pytest

from masterworker.decisions import audit, backlog
from masterworker.decisions.life import TRANSITIONS
from masterworker.roles import courier, heart
from masterworker.roles.master import MasterSettings
from masterworker.words import limits, paths, records
from masterworker.words.access import Identities
from masterworker.words.model import Attempt, Ledger, Master, Reason, State, Status, Task, Worker
from masterworker.zookeeper import session
from tests.docs import pages

PAGE = pages.text(pages.DOCS / "protocol.md")

TEXT = " ".join(PAGE.split())
"""The page as one line, so that no line's end stands in a sentence's way."""

HISTORY = (Attempt("worker", Reason.LOST),)

FULL = {
    "task": records.encode_task(
        Task("t", "echo", 1.0, 2, {"a": "b"}, HISTORY, True, "key", "x509:CN=alice"), b""
    ),
    "status": records.encode_status(
        Status(State.FAILED, "echo", "worker", 1.0, 2.0, 3.0, Reason.FAILED, HISTORY, "key")
    ),
    "worker": records.encode_worker(
        Worker({"echo": True}, 1, 1, keys=("key",), owner="x509:CN=worker")
    ),
    "master": records.encode_master(Master("master", "host", 1)),
    "ledger": records.encode_ledger(Ledger()),
    "access": records.encode_access(Identities()),
}
"""A record of each kind with every field set."""

SENTENCES = [
    f"A payload or result has at most {limits.MAX_PAYLOAD:,} bytes",
    f"a header {limits.MAX_HEADER:,}",
    f"a task's options {limits.MAX_OPTION_BYTES:,}",
    f"the evidence of one attempt {limits.MAX_DETAIL:,}",
    f"may be {limits.MAX_SEAL:,} bytes longer",
    f"up to {limits.BATCH_COUNT} operations or {limits.BATCH_BYTES // 1024} KiB in one `multi`",
    f"up to {limits.IN_FLIGHT} of them under way",
    f"Up to {limits.CLIENT_WINDOW} batches are under way",
    f"adds {limits.CLIENT_WINDOW + 1}: more than the chain is long",
    f"believed only if it shows in {audit.READINGS} readings",
    f"a heartbeat every T/{round(1 / heart.BEAT)}",
    f"At c + T/{round(1 / heart.FENCE)} it stops",
    f"When {('one', 'two', 'three', 'four')[session.MISSED_BEATS - 1]} heartbeats in a row",
    f"at everything every {MasterSettings().look_interval:g} s",
    f"at everything every {courier.LOOK_INTERVAL:g} s",
    f"at most {backlog.WINDOW:,} of them",
    f"has {limits.BOOK_SLOTS} slots",
    f"`<client>` is {8 * paths.CLIENT_ID_BYTES} random bits",
]
"""What the page says of the numbers in the code."""


def test_tree_is_complete() -> None:
    """The table of the tree has every top-level znode, and no other."""
    tops = {"/" + path.split("/")[1] for path, _ in pages.rows(PAGE, "| Path | What it is |")}
    assert tops == {paths.ACCESS, paths.MASTER, *paths.FOLDERS}


def test_transitions_are_those_of_the_code() -> None:
    """The table of transitions is TRANSITIONS, row by row."""
    table = pages.rows(PAGE, "| From | Event | To | By | What happens |")
    shown = [tuple(row[:4]) for row in table]
    assert shown == [(at, event, to, by) for (at, event), (to, by) in TRANSITIONS.items()]


@pytest.mark.parametrize("what", FULL)
def test_header_fields_are_those_of_the_code(what: str) -> None:
    """The table of kinds has every field that a record of this kind can have, and no other."""
    kind, header = FULL[what][4:5], msgpack.unpackb(FULL[what][7:])
    shown = {
        name: (letter, fields)
        for letter, name, fields in pages.rows(PAGE, "| Kind | Record | Header fields |")
    }
    letter, fields = shown[what]
    assert letter.encode() == kind
    assert set(re.findall(r"\w+(?=[,;]|$)", fields.replace("if set: ", ""))) == header.keys()
    version = FULL[what][3]
    assert version == (records.FORMAT if "sealed" in header else 1)
    assert f"the format version, 1; {records.FORMAT} if the record is `sealed`" in PAGE


def test_the_worked_example_is_a_record() -> None:
    """The example's bytes are what the code writes for that task, and read as what is said."""
    (block,) = pages.blocks(PAGE, "hex")
    data = bytes.fromhex(" ".join(line[:32] for line in block.splitlines()))
    task = records.decode_task("task", data)
    assert (task.executor, task.submitted, records.body(data)) == ("echo", 1767225600.0, b"hello")
    assert records.encode_task(task, b"hello") == data


@pytest.mark.parametrize("sentence", SENTENCES)
def test_numbers_are_those_of_the_code(sentence: str) -> None:
    """The page gives a bound as the code has it."""
    assert sentence in TEXT


def test_the_fence_holds_in_the_worst_case() -> None:
    """The page's sum is right: attempts stop before a session can end, at any timeout."""
    earliest_end = 1 - heart.BEAT - 1 / 4  # of the timeout, of which a tick is half at most
    assert f"{earliest_end:.2f} T" in PAGE
    assert earliest_end > heart.FENCE
    timeout, tick = 10, 2
    assert f"c + {timeout * (1 - heart.BEAT) - tick / 2:.1f} s" in TEXT
