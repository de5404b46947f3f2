"""Roles in threads of the test's own process, and plain views of the tree."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from masterworker import Client, TaskContext
from masterworker.decisions.audit import AuditReport
from masterworker.roles.master import Master, MasterSettings
from masterworker.roles.worker import Worker, WorkerSettings
from masterworker.words import records
from masterworker.words.executor import Executor
from masterworker.words.model import Ledger
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import Session
from tests.waiting import eventually

SESSION_TIMEOUT = 10.0
"""Seconds. A busy machine can stall for two or three. No lease, half of this, may expire because of
that, since interrupted attempts run again. Tests that need a shorter session set their own."""


class Role(Protocol):
    """A master or a worker."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


RoleT = TypeVar("RoleT", bound=Role)


def _echo(payload: bytes, _task: TaskContext) -> bytes:
    return payload


ECHO = Executor("echo", _echo, inline=True)


class Tally:
    """An executor that counts its runs by task and payload, and echoes.

    `fail_first` attempts of each task fail.
    """

    def __init__(self, name: str = "tally", *, fail_first: int = 0) -> None:
        self.executor = Executor(name, self._run, inline=True)
        self.by_task: Counter[str] = Counter()
        self.by_payload: Counter[bytes] = Counter()
        self._fail_first = fail_first
        self._lock = threading.Lock()

    def _run(self, payload: bytes, task: TaskContext) -> bytes:
        with self._lock:
            self.by_task[task.task_id] += 1
            self.by_payload[payload] += 1
        if task.attempt <= self._fail_first:
            raise ValueError(f"attempt {task.attempt} fails on purpose")
        return payload

    @property
    def repeated(self) -> list[str]:
        """The tasks that ran more than once."""
        return [task for task, runs in self.by_task.items() if runs > 1]


@contextlib.contextmanager
def running(role: RoleT, deadline: float = 20.0) -> Iterator[RoleT]:
    """Run a role in a thread. At the end it is stopped, and whatever ended it early is raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            role.run()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's thread
            failures.append(error)

    thread = threading.Thread(target=run, name=type(role).__name__, daemon=True)
    thread.start()
    try:
        yield role
    finally:
        role.stop()
        thread.join(deadline)
        if failures:
            raise failures[0]
    assert not thread.is_alive(), f"{role!r} does not stop within {deadline:g} s"


@contextlib.contextmanager
def master(hosts: str, **settings: Any) -> Iterator[Master]:
    """A running master; `settings` are those of MasterSettings."""
    settings.setdefault("session_timeout", SESSION_TIMEOUT)
    with running(Master(hosts, MasterSettings(**settings))) as role:
        yield role


@contextlib.contextmanager
def worker(hosts: str, *executors: Executor, **settings: Any) -> Iterator[Worker]:
    """A running worker with these executors (`echo` if none is named)."""
    settings.setdefault("session_timeout", SESSION_TIMEOUT)
    offered = {executor.name: executor for executor in executors or (ECHO,)}
    with running(Worker(hosts, offered, WorkerSettings(**settings))) as role:
        yield role


@contextlib.contextmanager
def cluster(
    hosts: str, *executors: Executor, timeout: float = SESSION_TIMEOUT, **settings: Any
) -> Iterator[None]:
    """One master, with these settings, and one worker with these executors."""
    with (
        master(hosts, session_timeout=timeout, **settings),
        worker(hosts, *executors, session_timeout=timeout),
    ):
        yield


def client(hosts: str) -> Client:
    """A client as the tests use it."""
    return Client(hosts, session_timeout=SESSION_TIMEOUT)


@contextlib.contextmanager
def connected(hosts: str, **settings: Any) -> Iterator[KazooClient]:
    """A plain kazoo client; `settings` are its own."""
    retry = KazooRetry(max_tries=-1, delay=0.02, max_delay=0.1)
    kazoo = KazooClient(hosts, timeout=10.0, connection_retry=retry, **settings)
    kazoo.start(10)
    try:
        yield kazoo
    finally:
        kazoo.stop()
        kazoo.close()


@contextlib.contextmanager
def tree(hosts: str) -> Iterator[KazooClient]:
    """A plain kazoo client on a tree that has its folders."""
    with session(hosts) as ours:
        ours.ensure_tree()
    with connected(hosts) as kazoo:
        yield kazoo


@contextlib.contextmanager
def session(hosts: str) -> Iterator[Session]:
    """A session of our own, for those who look at the tree from outside."""
    opened = Session(hosts, timeout=10.0)
    opened.start()
    try:
        yield opened
    finally:
        opened.close()


def audit(hosts: str) -> AuditReport:
    """The audit's report on the tree as it is now."""
    with session(hosts) as opened:
        return Auditor(opened).report()


@contextlib.contextmanager
def inspection(hosts: str) -> Iterator[Inspection]:
    """An inspection of the tree."""
    with session(hosts) as opened:
        yield Inspection(opened)


def books(kazoo: KazooClient, client_id: str) -> Ledger:
    """A client's ledger."""
    data, _ = kazoo.get(f"/status/{client_id}")
    return records.decode_ledger(data)


def client_of(task_id: str) -> str:
    """The client that submitted a task."""
    return task_id.rpartition("-")[0]


def wait_until_settled(kazoo: KazooClient, client_id: str, accepted: int) -> None:
    """Return when all of a client's tasks were accepted, handed over and deleted."""

    def settled() -> bool:
        ledger = books(kazoo, client_id)
        assert (ledger.accepted, ledger.taken, ledger.expired) == (accepted, accepted, 0)
        return not kazoo.get_children(f"/status/{client_id}")

    eventually(settled, what=f"the books of client {client_id} are balanced")


def credentials(of: Client) -> tuple[int, bytes]:
    """The session id and password of a client's first session, for `expire`."""
    session_id, password = of._courier._first_session._kazoo.client_id
    return session_id, password
