"""The client as its users see it: futures, batches, and its behaviour on errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from masterworker import (
    Client,
    ClientClosed,
    PayloadTooLarge,
    TaskFailed,
    TaskFuture,
    Unavailable,
)
from masterworker.decisions import retry
from masterworker.dev.server import ZooKeeperServer, free_ports
from masterworker.words.limits import MAX_PAYLOAD
from masterworker.words.model import State
from tests.faults.expire import expire
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import (
    Tally,
    audit,
    books,
    client,
    client_of,
    cluster,
    credentials,
    inspection,
    master,
    tree,
    wait_until_settled,
    worker,
)
from tests.waiting import eventually


def numbers(count: int) -> list[bytes]:
    """Payloads that all differ."""
    return [b"%d" % number for number in range(count)]


# --- futures -------------------------------------------------------------------------------------


def test_futures_work_with_the_standard_library(hosts: str) -> None:
    """wait, as_completed and asyncio.wrap_future take a TaskFuture as any other future."""
    with cluster(hosts), client(hosts) as submitter:
        waited = submitter.submit_many(numbers(20), executor="echo")
        done, not_done = concurrent.futures.wait(waited, timeout=20)
        assert (len(done), len(not_done)) == (20, 0)

        completed = submitter.submit_many(numbers(20), executor="echo")
        results = {future.result() for future in concurrent.futures.as_completed(completed, 20)}
        assert results == set(numbers(20))

        async def gather(futures: list[TaskFuture]) -> list[bytes]:
            return await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))

        awaited = submitter.submit_many(numbers(20), executor="echo")
        assert asyncio.run(asyncio.wait_for(gather(awaited), 20)) == numbers(20)


def test_map_keeps_order_and_its_window(hosts: str) -> None:
    """Results come in the order of the payloads, and no more than `window` are drawn ahead."""
    drawn = 0

    def payloads() -> Iterator[bytes]:
        nonlocal drawn
        for payload in numbers(100):
            drawn += 1
            yield payload

    with cluster(hosts), client(hosts) as submitter:
        results = []
        for result in submitter.map("echo", payloads(), window=10, timeout=30):
            results.append(result)
            assert drawn - len(results) < 10
    assert results == numbers(100)


def test_map_stops_waiting_at_its_timeout(hosts: str) -> None:
    """If no worker runs the tasks, map ends with TimeoutError after the given time."""
    with client(hosts) as submitter, pytest.raises(TimeoutError):
        next(submitter.map("echo", [b"never"], timeout=0.1))


def test_five_thousand_tasks_are_settled(hosts: str) -> None:
    """Each payload comes back once, and then folder and ledger show nothing left over."""
    with cluster(hosts), client(hosts) as submitter, tree(hosts) as kazoo:
        futures = submitter.submit_many(numbers(5_000), executor="echo")
        assert [future.result(30) for future in futures] == numbers(5_000)
        assert len({future.task_id for future in futures}) == 5_000
        wait_until_settled(kazoo, client_of(futures[0].task_id), 5_000)


def test_callbacks_may_submit(hosts: str) -> None:
    """A future's callback, which runs on the client's own thread, can submit the next task."""
    ended: concurrent.futures.Future[bytes] = concurrent.futures.Future()
    with cluster(hosts), client(hosts) as submitter:

        def next_step(future: concurrent.futures.Future[bytes]) -> None:
            step = int(future.result())
            if step == 30:
                ended.set_result(future.result())
            else:
                submit(step + 1)

        def submit(step: int) -> None:
            submitter.submit(b"%d" % step, executor="echo").add_done_callback(next_step)

        submit(1)
        assert ended.result(30) == b"30"


def test_two_clients_at_once(hosts: str) -> None:
    """Clients share a cluster, and threads share a client; each future gets its own result."""
    with cluster(hosts), client(hosts) as one, client(hosts) as other:

        def use(submitter: Client, mark: bytes) -> list[bytes]:
            futures = [submitter.submit(mark + number, executor="echo") for number in numbers(200)]
            return [future.result(30) for future in futures]

        with concurrent.futures.ThreadPoolExecutor() as pool:
            jobs = {
                mark: pool.submit(use, submitter, mark)
                for mark, submitter in ((b"a", one), (b"b", one), (b"c", other), (b"d", other))
            }
            for mark, job in jobs.items():
                assert job.result(40) == [mark + number for number in numbers(200)]


# --- failing tasks -------------------------------------------------------------------------------


def test_failed_task_raises_with_its_history(hosts: str) -> None:
    """TaskFailed names the task and the reason, and shows the attempt with its traceback."""
    failing = Tally("failing", fail_first=99)
    with cluster(hosts, failing.executor), client(hosts) as submitter:
        future = submitter.submit(b"x", executor="failing")
        with pytest.raises(TaskFailed, match="attempt 1 fails on purpose") as caught:
            future.result(20)
    assert (caught.value.task_id, caught.value.reason) == (future.task_id, "failed")
    [attempt] = caught.value.attempts
    assert attempt.worker
    assert attempt.started is not None
    assert attempt.ended is not None
    assert failing.by_task == {future.task_id: 1}


def test_attempts_are_repeated_as_often_as_asked(hosts: str) -> None:
    """With attempts=3 the third may succeed; with attempts=2 the history has both failures.

    Each comes after a pause, and the primary wakes for it: its look at everything is 30 s apart.
    """
    failing = Tally("failing", fail_first=2)
    with cluster(hosts, failing.executor), client(hosts) as submitter:
        lucky = submitter.submit(b"x", executor="failing", attempts=3)
        unlucky = submitter.submit(b"x", executor="failing", attempts=2)
        assert lucky.result(20) == b"x"
        with pytest.raises(TaskFailed) as caught:
            unlucky.result(20)
    first, second = caught.value.attempts
    assert first.ended is not None
    assert second.started is not None
    assert second.started - first.ended >= retry.FIRST / 2
    details = [attempt.detail for attempt in caught.value.attempts]
    assert ["attempt 1 fails" in details[0], "attempt 2 fails" in details[1]] == [True, True]
    assert failing.by_task == {lucky.task_id: 3, unlucky.task_id: 2}


# --- waiting through failures --------------------------------------------------------------------


def test_expired_session_does_not_end_the_wait(server: ZooKeeperServer, hosts: str) -> None:
    """The waiting client's session expires on the server: it waits on in a new one, to the end."""
    with master(hosts), client(hosts) as submitter:
        future = submitter.submit(b"x", executor="echo")
        submitter.flush(20)
        expire(server.hosts, *credentials(submitter))
        with worker(hosts):
            assert future.result(20) == b"x"
            assert submitter.submit(b"y", executor="echo").result(20) == b"y"


def test_wait_outlasts_the_primary(hosts: str) -> None:
    """The primary steps down while a client waits: the backup master assigns the task."""
    with contextlib.ExitStack() as office, tree(hosts) as kazoo:
        office.enter_context(master(hosts))
        eventually(lambda: kazoo.exists("/master"), what="somebody is in office")
        with master(hosts), client(hosts) as submitter:
            future = submitter.submit(b"x", executor="echo")
            submitter.flush(20)
            office.close()
            with worker(hosts):
                assert future.result(20) == b"x"


def test_wait_outlasts_zookeeper(tmp_path: Path) -> None:
    """ZooKeeper is killed and restarted while a client waits: the wait continues and ends."""
    with (
        ZooKeeperServer(tmp_path) as own,
        tree(own.hosts),
        master(own.hosts),
        client(own.hosts) as submitter,
    ):
        future = submitter.submit(b"x", executor="echo")
        submitter.flush(20)
        own.process.kill()
        meanwhile = submitter.submit(b"y", executor="echo")
        own.launch()
        own.wait_until_serving()
        with worker(own.hosts):
            assert future.result(30) == b"x"
            assert meanwhile.result(30) == b"y"


def test_no_zookeeper_is_said_soon(nowhere: str) -> None:
    """Without a server the constructor raises within 10 s, and names the hosts it tried."""
    [port] = free_ports(1)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}{nowhere}"):
        Client(f"127.0.0.1:{port}{nowhere}")
    assert time.monotonic() - began < 10


def test_close_ends_futures_and_not_tasks(hosts: str) -> None:
    """After close() a waiting future raises ClientClosed; the task runs, its status is kept."""
    submitter = client(hosts)
    future = submitter.submit(b"x", executor="echo")
    submitter.close()
    with pytest.raises(ClientClosed, match="the task itself goes on"):
        future.result(0)
    with pytest.raises(ClientClosed):
        submitter.submit(b"y")
    with cluster(hosts), inspection(hosts) as view:
        eventually(lambda: view.task(future.task_id).state is State.DONE)
        assert view.result(future.task_id) == b"x"


CLIENT_PROGRAM = """
import os, signal, sys
from masterworker import Client

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

client = Client(sys.argv[1])
future = client.submit(b"kept", executor="echo")
future.add_done_callback(die)
client.flush()
print(future.task_id, flush=True)
if sys.argv[2] == "before":
    die()
signal.pause()
"""


@pytest.mark.parametrize("killed", ["before", "after"])
def test_status_outlives_a_client_killed(hosts: str, killed: str) -> None:
    """A client is killed before, or just after, it reads the result: that can be read again."""
    with master(hosts), inspection(hosts) as view:
        command = [sys.executable, "-c", CLIENT_PROGRAM, hosts, killed]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            task = process.stdout.readline().strip()
            with worker(hosts):
                assert process.wait(20) == -signal.SIGKILL
                eventually(lambda: view.task(task).state is State.DONE, what="the task is done")
        assert [view.result(task), view.result(task)] == [b"kept", b"kept"]


def test_result_is_kept_until_it_is_acknowledged(hosts: str) -> None:
    """With `acknowledge`, a status stays when its result was handed over, and goes when told."""
    with cluster(hosts), tree(hosts) as kazoo, Client(hosts, acknowledge=True) as submitter:
        first, second = submitter.submit_many(numbers(2), executor="echo")
        assert [first.result(20), second.result(20)] == numbers(2)
        folder = f"/status/{client_of(first.task_id)}"
        assert sorted(kazoo.get_children(folder)) == ["1", "2"]
        submitter.acknowledge(first)
        eventually(lambda: kazoo.get_children(folder) == ["2"], what="one status is left")
        assert books(kazoo, client_of(first.task_id)).taken == 1
        assert audit(hosts).ok
        waiting = submitter.submit(b"x", executor="nobodys")
        with pytest.raises(ValueError, match="no result yet"):
            submitter.acknowledge(waiting)


@pytest.mark.parametrize("payloads", [b"bytes", "text", [b"good", "text"], [3], [None]])
def test_what_is_no_payload_is_refused_before_anything_is_submitted(
    hosts: str, payloads: Any
) -> None:
    """A number is no payload, nor is text; good ones beside it are not submitted either."""
    with tree(hosts) as kazoo, client(hosts) as submitter:
        with pytest.raises(TypeError):
            submitter.submit_many(payloads, executor="echo")
        with pytest.raises(PayloadTooLarge):
            submitter.submit_many([b"x"] * 3_000 + [b"x" * (MAX_PAYLOAD + 1)], executor="echo")
        submitter.flush(10)
        assert kazoo.get_children("/tasks") == []


# --- bounds --------------------------------------------------------------------------------------


def test_payload_over_the_limit_is_refused(hosts: str) -> None:
    """One byte too many is refused by submit, the session is unharmed, the limit itself fits."""
    largest = bytes(MAX_PAYLOAD)
    with cluster(hosts), client(hosts) as submitter, tree(hosts) as kazoo:
        before = credentials(submitter)
        with pytest.raises(PayloadTooLarge, match="900,001 bytes"):
            submitter.submit(largest + b"x", executor="echo")
        future = submitter.submit(largest, executor="echo")
        assert future.result(20) == largest
        assert future.task_id.endswith("-1")
        wait_until_settled(kazoo, client_of(future.task_id), 1)
        assert credentials(submitter) == before


def test_many_large_payloads_fit_through(hosts: str) -> None:
    """Payloads of which only one fits into a request go through submit, run and fetch."""
    payloads = [bytes([number]) * 600_000 for number in range(12)]
    with cluster(hosts), client(hosts) as submitter:
        assert list(submitter.map("echo", payloads, timeout=40)) == payloads


def test_no_request_per_task(server: ZooKeeperServer, chroot: str) -> None:
    """Client, master and worker each make far fewer requests than there are tasks."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Proxy("127.0.0.1", server.port)) for _ in range(3)]
        for_master, for_worker, for_client = lines
        stack.enter_context(master(for_master.hosts(chroot)))
        stack.enter_context(worker(for_worker.hosts(chroot)))
        submitter = stack.enter_context(client(for_client.hosts(chroot)))
        futures = submitter.submit_many(numbers(2_000), executor="echo")
        concurrent.futures.wait(futures, 30)
        kazoo = stack.enter_context(tree(server.hosts + chroot))
        wait_until_settled(kazoo, client_of(futures[0].task_id), 2_000)
        assert [sum(line.counts.values()) < 400 for line in lines] == [True] * 3


def test_nobody_polls_when_idle(server: ZooKeeperServer, chroot: str) -> None:
    """With nothing to do, client, master and worker send heartbeats and nothing else."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Proxy("127.0.0.1", server.port)) for _ in range(3)]
        for_master, for_worker, for_client = lines
        stack.enter_context(master(for_master.hosts(chroot)))
        stack.enter_context(worker(for_worker.hosts(chroot)))
        submitter = stack.enter_context(client(for_client.hosts(chroot)))
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"

        def asked() -> list[int]:
            """Requests so far, without pings and the worker's heartbeats."""
            return [
                sum(count for op, count in line.counts.items() if op not in (Op.PING, Op.SYNC))
                for line in lines
            ]

        before, since = asked(), time.monotonic()

        def quiet() -> bool:
            nonlocal before, since
            if asked() != before:
                before, since = asked(), time.monotonic()
            return time.monotonic() - since > 3

        eventually(quiet, 15, "three seconds without a request")
        assert for_worker.counts[Op.SYNC] > 0
