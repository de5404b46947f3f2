"""Client.attach: futures of tasks that another client submitted."""

from __future__ import annotations

import contextlib
from concurrent.futures import wait
from pathlib import Path

import pytest

from masterworker import (
    BadName,
    Client,
    ClientClosed,
    NotAuthorized,
    NotFound,
    TaskFailed,
    TaskFuture,
)
from masterworker.dev.server import ZooKeeperServer
from masterworker.roles import attached
from masterworker.roles.keyfile import load_keys, new_key
from masterworker.words.errors import SealBroken
from tests.faults.expire import expire
from tests.faults.proxy import Proxy
from tests.integration.locked import Locked
from tests.integration.running import (
    Tally,
    audit,
    books,
    client,
    client_of,
    cluster,
    credentials,
    master,
    tree,
    worker,
)
from tests.waiting import eventually


def ids(futures: list[TaskFuture]) -> list[str]:
    """The ids of futures, as another process would be told them."""
    return [future.task_id for future in futures]


def test_results_of_another_client_are_read_and_left_alone(hosts: str) -> None:
    """Before and after they end, whether done or failed; the ledger counts none as taken."""
    failing = Tally("failing", fail_first=99)
    with master(hosts), client(hosts) as watcher, tree(hosts) as kazoo:
        submitter = client(hosts)
        names = ids(submitter.submit_many([b"a", b"b"], executor="echo"))
        names += ids([submitter.submit(b"c", executor="failing")])
        submitter.flush(20)
        submitter.close()
        early = watcher.attach(names)
        assert ids(early) == names
        with worker(hosts, Tally("echo").executor, failing.executor):
            done, _ = wait(early, 20)
        late = watcher.attach([*names, names[0]])
        wait(late, 20)
        for futures in (early, late):
            assert [future.result(0) for future in futures[:2]] == [b"a", b"b"]
            with pytest.raises(TaskFailed, match="attempt 1 fails on purpose"):
                futures[2].result(0)
        assert len(done) == 3
        assert late[3].result(0) == b"a"
        with pytest.raises(ValueError, match="another client"):
            watcher.acknowledge(early[0])
        folder = client_of(names[0])
        assert books(kazoo, folder).taken == 0
        assert len(kazoo.get_children(f"/status/{folder}")) == 3
        assert audit(hosts).ok


def test_a_task_that_is_gone_ends_its_future(hosts: str) -> None:
    """Unknown ones at once; one that its own client takes while it is watched, when it is taken."""
    with cluster(hosts), client(hosts) as submitter, client(hosts) as watcher:
        waiting = submitter.submit(b"x", executor="nobodys")
        submitter.flush(20)
        unknown = [f"{'0' * 16}-1", f"{client_of(waiting.task_id)}-999"]
        *gone, pending = watcher.attach([*unknown, waiting.task_id])
        for future in gone:
            with pytest.raises(NotFound, match=future.task_id):
                future.result(20)
        taken = submitter.submit(b"y", executor="echo")
        taken.result(20)
        with tree(hosts) as kazoo:
            eventually(lambda: books(kazoo, client_of(taken.task_id)).taken == 1)
        with pytest.raises(NotFound):
            watcher.attach([taken.task_id])[0].result(20)
        both = submitter.submit_many([b"z"] * 200, executor="echo")
        done, late = wait(watcher.attach(ids(both)), 20)  # whichever client is quicker
        assert (len(done), len(late)) == (200, 0)
        assert not pending.done()


def test_what_cannot_be_attached_is_refused(hosts: str) -> None:
    """A name that is no task id, a task of the client itself, a single id, a closed client."""
    with client(hosts) as submitter, client(hosts) as watcher:
        own = submitter.submit(b"x", executor="nobodys")
        with pytest.raises(BadName):
            submitter.attach(["task-0000000001"])
        with pytest.raises(TypeError):
            submitter.attach(own.task_id)
        with pytest.raises(TypeError):
            submitter.attach([3])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="submitted by this client"):
            submitter.attach([own.task_id])
        submitter.flush(20)
        [future] = watcher.attach([own.task_id])
        watcher.close()
        with pytest.raises(ClientClosed):
            future.result(0)
        with pytest.raises(ClientClosed):
            watcher.attach([own.task_id])


def test_a_watch_outlasts_the_session_and_the_connection(
    server: ZooKeeperServer, hosts: str, chroot: str
) -> None:
    """The watcher's session expires, and its connection breaks: the result still arrives."""
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(Proxy("127.0.0.1", server.port))
        stack.enter_context(master(hosts))
        submitter = stack.enter_context(Client(hosts, acknowledge=True))
        watcher = stack.enter_context(client(line.hosts(chroot)))
        first, second = submitter.submit_many([b"1", b"2"], executor="echo")
        submitter.flush(20)
        one, two = watcher.attach(ids([first, second]))
        expire(server.hosts, *credentials(watcher))
        line.reset()
        with worker(hosts):
            assert [one.result(30), two.result(30)] == [b"1", b"2"]


def test_attaching_makes_no_request_per_task(
    server: ZooKeeperServer, chroot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of waiting tasks cost a few requests, and none while nothing happens."""
    monkeypatch.setattr(attached, "PAUSE_SHARE", 0.0)
    hosts = server.hosts + chroot
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(Proxy("127.0.0.1", server.port))
        submitter = stack.enter_context(Client(hosts, acknowledge=True))
        watcher = stack.enter_context(client(line.hosts(chroot)))
        names = ids(submitter.submit_many([b"x"] * 3_000, executor="echo"))
        submitter.flush(20)
        futures = watcher.attach([*names, f"{client_of(names[0])}-9999"])
        with pytest.raises(NotFound):
            futures[-1].result(20)
        assert sum(line.counts.values()) < 60
        stack.enter_context(cluster(hosts))
        assert len(wait(futures, 40).done) == 3_001
        assert sum(line.counts.values()) < 400


def test_access_lists_decide_who_can_attach(hosts: str) -> None:
    """A process with the client's own identity can; one with another's gets NotAuthorized."""
    locked = Locked(hosts)
    locked.lock()
    with locked.client("alice") as submitter:
        future = submitter.submit(b"x", executor="echo")
        submitter.flush(20)
        missing = f"{client_of(future.task_id)}-9999"
        with locked.client("alice") as same, locked.client("bob") as other:
            own, gone = same.attach([future.task_id, missing])
            [foreign] = other.attach([future.task_id])
            with pytest.raises(NotAuthorized, match="identity"):
                foreign.result(20)
            with pytest.raises(NotFound):
                gone.result(20)
            assert not own.done()


def test_sealed_results_are_opened_with_the_key_only(hosts: str, tmp_path: Path) -> None:
    """Without it a sealed result is NotAuthorized; with it an open one counts for nothing."""
    file = tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text(new_key("k1") + "\n")
    with (
        master(hosts),
        worker(hosts, keys=load_keys(file)),
        Client(hosts, key_file=file, acknowledge=True) as sealing,
        Client(hosts, acknowledge=True) as plain,
        Client(hosts, key_file=file) as with_key,
        client(hosts) as without,
    ):
        sealed = sealing.submit(b"sealed", executor="echo")
        plainly = plain.submit(b"open", executor="echo")
        wait([sealed, plainly], 20)
        [opened, refused] = with_key.attach([sealed.task_id, plainly.task_id])
        assert opened.result(20) == b"sealed"
        with pytest.raises(SealBroken, match="not encrypted"):
            refused.result(20)
        [blind, seeing] = without.attach([sealed.task_id, plainly.task_id])
        assert seeing.result(20) == b"open"
        with pytest.raises(NotAuthorized, match="key file"):
            blind.result(20)
