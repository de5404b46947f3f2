"""Sealed tasks on a real ZooKeeper: altered ones, attempts, changes of keys, lost workers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from masterworker import Client, TaskContext, TaskFailed
from masterworker.roles.keyfile import load_keys, new_key
from masterworker.words import paths, records
from masterworker.words.errors import SealBroken
from masterworker.words.executor import Executor
from masterworker.words.model import State, Status
from tests.integration.running import SESSION_TIMEOUT, audit, master, tree, worker
from tests.waiting import eventually

SEEN: list[tuple[bytes, dict[str, str], bool]] = []


def _look(payload: bytes, task: TaskContext) -> bytes:
    SEEN.append((payload, dict(task.options), task.sealed))
    if task.attempt < 3 and payload == b"third time":
        raise ValueError(f"secret of attempt {task.attempt}")
    return payload[::-1]


LOOK = Executor("look", _look, inline=True)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key file with one key."""
    return key_file(tmp_path / "keys", new_key("k1"))


def key_file(path: Path, *lines: str) -> Path:
    path.touch(0o600)
    path.write_text("\n".join(lines))
    return path


def sealing(hosts: str, file: Path) -> Client:
    return Client(hosts, session_timeout=SESSION_TIMEOUT, key_file=file)


def test_an_executor_sees_the_plain_payload(hosts: str, keys: Path) -> None:
    """And the options, and that they were sealed; the evidence of its attempts comes back open."""
    SEEN.clear()
    with (
        master(hosts),
        worker(hosts, LOOK, keys=load_keys(keys)),
        sealing(hosts, keys) as client,
    ):
        future = client.submit(b"third time", executor="look", attempts=3, options={"a": "b"})
        assert future.result(20) == b"emit driht"
        doomed = client.submit(b"third time", executor="look", attempts=2)
        with pytest.raises(TaskFailed, match="secret of attempt 2") as failed:
            doomed.result(20)
        with Client(hosts) as plain:
            assert plain.submit(b"plain", executor="look").result(20) == b"nialp"
    assert ["secret of attempt" in one.detail for one in failed.value.attempts] == [True, True]
    assert (b"third time", {"a": "b"}, True) in SEEN
    assert (b"plain", {}, False) in SEEN
    assert audit(hosts).ok


def test_an_altered_payload_fails_its_own_task_only(hosts: str, keys: Path) -> None:
    """Altered, and swapped for that of another task: both fail, and say why to everybody."""
    SEEN.clear()
    with master(hosts), tree(hosts) as kazoo, sealing(hosts, keys) as client:
        futures = client.submit_many([b"one", b"two", b"three"], executor="look")
        client.flush(20)
        first, second, third = (paths.task(future.task_id) for future in futures)
        altered, _ = kazoo.get(first)
        kazoo.set(first, altered[:-1] + bytes([altered[-1] ^ 1]))
        kazoo.set(second, kazoo.get(third)[0])
        with worker(hosts, LOOK, keys=load_keys(keys)):
            assert futures[2].result(20) == b"eerht"
            for future in futures[:2]:
                with pytest.raises(TaskFailed, match="cannot be decrypted with key 'k1'"):
                    future.result(20)
    assert [payload for payload, _, _ in SEEN] == [b"three"]
    assert audit(hosts).ok


def test_keys_can_be_changed_while_tasks_wait(hosts: str, keys: Path, tmp_path: Path) -> None:
    """A worker with both keys serves tasks of the old and of the new one; one with the new key
    alone is given none of the old."""
    old, new = keys.read_text(), new_key("k2")
    both = load_keys(key_file(tmp_path / "both", new, old))
    with (
        master(hosts),
        sealing(hosts, keys) as before,
        sealing(hosts, key_file(tmp_path / "new", new)) as after,
    ):
        waiting = before.submit(b"old", executor="look")
        with worker(hosts, LOOK, keys=load_keys(tmp_path / "new")):
            assert after.submit(b"new", executor="look").result(20) == b"wen"
            assert not waiting.done()
            with worker(hosts, LOOK, keys=both):
                assert waiting.result(20) == b"dlo"


def test_a_sealed_task_of_a_lost_worker_goes_to_one_with_the_key(hosts: str, keys: Path) -> None:
    """It is handed back as it was, sealed, and no worker without the key ever gets it."""
    begun, go = threading.Event(), threading.Event()

    def hang(payload: bytes, _task: TaskContext) -> bytes:
        begun.set()
        go.wait(20)
        return payload

    slow = Executor("look", hang, inline=True)
    with master(hosts), tree(hosts) as kazoo, sealing(hosts, keys) as client:
        with worker(hosts, LOOK), worker(hosts, slow, keys=load_keys(keys), grace=0.0):
            future = client.submit(b"payload", executor="look")
            assert begun.wait(20)
        go.set()
        path = paths.task(future.task_id)
        data = eventually(lambda: kazoo.exists(path) and kazoo.get(path)[0], what="it is back")
        assert data
        assert data[3] == records.FORMAT
        assert b"payload" not in data
        with worker(hosts, LOOK), worker(hosts, LOOK, keys=load_keys(keys)):
            assert future.result(20) == b"daolyap"


def test_the_largest_payload_can_be_sealed(hosts: str, keys: Path) -> None:
    """It comes back whole, though it is longer on the way."""
    largest = os.urandom(900_000)
    with (
        master(hosts),
        worker(hosts, LOOK, keys=load_keys(keys)),
        sealing(hosts, keys) as client,
    ):
        future = client.submit(largest, executor="look", options={"a": "x" * 7_000})
        assert future.result(30) == largest[::-1]


def test_a_forged_result_is_left_for_inspection(hosts: str, keys: Path) -> None:
    """Who can write to ZooKeeper and has no key puts a result there: the future fails, and the
    status stays as it is, while that of a task submitted after it is taken."""
    with tree(hosts) as kazoo, sealing(hosts, keys) as client:
        future = client.submit(b"payload", executor="look")
        client.flush(20)
        forged = records.encode_status(Status(State.DONE, "look"), b"forged")
        transaction = kazoo.transaction()
        transaction.delete(paths.task(future.task_id))
        transaction.create(paths.status(future.task_id), forged)
        transaction.commit()
        with pytest.raises(SealBroken, match="cannot be decrypted with key 'k1'"):
            future.result(20)
        with master(hosts), worker(hosts, LOOK, keys=load_keys(keys)):
            later = client.submit(b"later", executor="look")
            assert later.result(20) == b"retal"
            taken = paths.status(later.task_id)
            eventually(lambda: not kazoo.exists(taken), what="the sound result is taken")
        assert kazoo.get(paths.status(future.task_id))[0] == forged
