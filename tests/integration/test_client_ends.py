"""The end of a client: closed, interrupted, forked, and the final state of its futures."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from masterworker import ClientClosed, TaskFailed, TaskFuture
from masterworker.dev.server import ZooKeeperServer
from masterworker.words import limits, records
from masterworker.words.model import Ledger
from masterworker.zookeeper.ledgers import write_aside
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import (
    books,
    client,
    client_of,
    cluster,
    inspection,
    session,
    tree,
)
from tests.waiting import eventually

AT_MOST = 2.0
"""Seconds that Ctrl-C may take."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens here takes no longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def fates(futures: list[TaskFuture]) -> list[bool | None]:
    """Whether each task was accepted, as its future says once the client is closed."""
    found = []
    for future in futures:
        error = future.exception(10)  # many are ended in a thread that close() leaves running
        assert isinstance(error, ClientClosed)
        assert future.task_id in str(error)
        found.append(error.accepted)
    return found


def test_ctrl_c_in_a_with_block_takes_two_seconds(proxy: Proxy, chroot: str) -> None:
    """Unanswered: each future tells whether its task was accepted, may have been, or was not."""
    sent = limits.CLIENT_WINDOW * limits.BATCH_COUNT
    submitter = client(proxy.hosts(chroot))
    began = 0.0
    with contextlib.suppress(KeyboardInterrupt), submitter:
        accepted = submitter.submit(b"accepted", executor="nobodys")
        submitter.flush(20)
        rule = proxy.hold_at(Op.MULTI, "to_server", containing=f"{chroot}/tasks/".encode())
        unanswered = submitter.submit_many([b"x"] * (sent + 10), executor="nobodys")
        proxy.wait_for(rule)
        eventually(lambda: len(submitter.unconfirmed) == sent)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < AT_MOST
    assert fates([accepted]) == [True]
    assert fates(unanswered) == [None] * sent + [False] * 10
    assert list(submitter.unconfirmed) == [future.task_id for future in unanswered[:sent]]
    proxy.release()


@pytest.mark.parametrize("unsent", [True, False])
def test_close_keeps_its_bound_when_nothing_answers(
    proxy: Proxy, chroot: str, unsent: bool
) -> None:
    """It waits for what is unsent as long as it is told; with nothing unsent, no longer at all."""
    submitter = client(proxy.hosts(chroot))
    future = submitter.submit(b"x", executor="echo")
    submitter.flush(20)
    proxy.hold()
    if unsent:
        submitter.submit(b"y", executor="echo")
    with within(AT_MOST):
        submitter.close(timeout=0.5 if unsent else 30.0)
    assert fates([future]) == [True]
    proxy.release()


def test_what_is_sent_is_accepted_before_a_client_is_closed(hosts: str) -> None:
    """With a ZooKeeper that answers, close() sends everything, and says that it is accepted."""
    submitter = client(hosts)
    futures = submitter.submit_many([b"x"] * 3_000, executor="echo")
    submitter.close()
    assert set(fates(futures)) == {True}
    assert submitter.unconfirmed == ()
    with tree(hosts) as kazoo:
        assert books(kazoo, client_of(futures[0].task_id)).accepted == 3_000


INTERRUPTED = """
import sys
from masterworker import Client
client = Client(sys.argv[1])
client.submit(b"x")
client.flush()
print("ready", flush=True)
sys.stdin.readline()
client.submit(b"y")
print("unsent", flush=True)
client.flush()
"""


def test_ctrl_c_ends_a_program_that_closes_nothing(proxy: Proxy, chroot: str) -> None:
    """The client is then closed when the interpreter ends, which is as quick."""
    command = [sys.executable, "-c", INTERRUPTED, proxy.hosts(chroot)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == "ready\n"
        proxy.hold()
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "unsent\n"
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        program.wait(20)
        assert time.monotonic() - began < 2 * AT_MOST  # an interpreter ends, on a busy machine
        assert program.returncode == -signal.SIGINT
    proxy.release()


def test_a_callback_does_not_end_the_client(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its thread continues after SystemExit: results arrive, and the next task is run."""

    def leave(_future: object) -> None:
        raise SystemExit("from a callback")

    caplog.set_level(logging.ERROR, "masterworker")
    with cluster(hosts), client(hosts) as submitter:
        futures = submitter.submit_many([b"x"] * 10, executor="echo")
        for future in futures:
            future.add_done_callback(leave)
        assert [future.result(20) for future in futures] == [b"x"] * 10
        assert submitter.submit(b"y", executor="echo").result(20) == b"y"
    said = [record.getMessage() for record in caplog.records]
    assert all("test_a_callback_does_not_end_the_client" in one for one in said)


def test_expired_tasks_are_looked_up_many_at_a_time(
    server: ZooKeeperServer, proxy: Proxy, chroot: str
) -> None:
    """One of 2,000 futures ends as expired; it takes few requests to find out."""
    hosts = server.hosts + chroot
    with client(proxy.hosts(chroot)) as submitter, tree(hosts) as kazoo, session(hosts) as eyes:
        futures = submitter.submit_many([b"x" * 1_000] * 2_000, executor="nobodys")
        submitter.flush(20)
        folder = f"/status/{client_of(futures[0].task_id)}"
        kazoo.delete(f"/tasks/{futures[7].task_id}")
        data, stat = kazoo.get(folder)
        ledger = records.decode_ledger(data)
        assert ledger == Ledger(accepted=2_000, batch=ledger.batch)
        after = Ledger(2_000, 0, 1, ledger.batch)
        assert eyes.commit(write_aside(folder, after, stat.version)).wait() is None
        before = sum(proxy.counts.values())
        submitter.submit(b"more", executor="nobodys")  # refused, since the ledger has changed
        with pytest.raises(TaskFailed, match="expired"):
            futures[7].result(20)
        assert sum(future.done() for future in futures) == 1
        assert sum(proxy.counts.values()) - before < 100


FORKED = """
import concurrent.futures, multiprocessing, os, signal, sys, threading, warnings
from masterworker import Client, ClientForked

warnings.simplefilter("ignore")  # that a process with threads forks is the point
client = Client(sys.argv[1])
future = client.submit(b"waiting", executor="nobodys")
client.flush()

def refused(use):
    try:
        use()
    except ClientForked as error:
        return str(os.getpid()) in str(error) and str(os.getppid()) in str(error)
    return False

def in_child():
    signal.alarm(20)
    uses = [
        lambda: client.submit(b"lost", executor="echo"),
        lambda: client.submit_many([b"lost"], executor="echo"),
        lambda: client.map("echo", [b"lost"]),
        lambda: client.attach([future.task_id]),
        lambda: client.acknowledge(future),
        lambda: client.flush(),
        lambda: client.unconfirmed,
        lambda: client.__enter__(),
        lambda: future.result(),
        lambda: concurrent.futures.wait([future]).done.pop().result(),
    ]
    bad = [number for number, use in enumerate(uses) if not refused(use)]
    client.close()
    client.__exit__(None, None, None)
    with Client(sys.argv[1]) as own:
        assert own.submit(b"child", executor="echo").result(20) == b"child"
    if bad:
        print("not refused:", bad, flush=True)
    return bad

def lost():
    client.submit(b"lost", executor="echo")

def ending():
    pid = os.fork()
    if pid == 0:
        sys.exit(len(in_child()))  # all that runs when an interpreter ends runs
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

locked = threading.Event()
held = [client._lock, client._courier.progress, client._courier._wake._cond]
def hold():
    with held[0], held[1], held[2]:
        locked.set()
        forked.wait()
forked = threading.Event()
threading.Thread(target=hold, daemon=True).start()
locked.wait()
codes = [ending()]
forked.set()
context = multiprocessing.get_context("fork")
process = context.Process(target=lambda: sys.exit(len(in_child())))
process.start()
process.join()
with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    try:
        pool.submit(lost).result()
    except ClientForked as error:
        codes.append(0 if str(os.getpid()) in str(error) else 9)
print(*codes, process.exitcode, client.submit(b"parent", executor="echo").result(20), flush=True)
"""


def test_a_client_used_after_a_fork_says_so(hosts: str) -> None:
    """Every use raises at once, with both ids; the parent's session is unharmed, and a client of
    the child's own works. Locks held at the fork, and the child's end, make no difference.
    """
    with cluster(hosts), inspection(hosts) as view:
        ended = subprocess.run(
            [sys.executable, "-c", FORKED, hosts], capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (0, "0 0 0 b'parent'\n"), ended.stderr
        assert view.status().pending == 1
