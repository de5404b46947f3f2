"""The client: submits tasks and returns their results.

with Client("127.0.0.1:2181") as client:
    future = client.submit(b"payload", executor="echo")
    future.result(timeout=10)
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from ..words import limits, paths, records
from ..words.book import EXECUTOR as DEFAULT_EXECUTOR
from ..words.errors import Unavailable
from ..words.login import Login
from ..words.model import Task
from ..zookeeper.operations import Create
from ..zookeeper.session import CONNECT_TIMEOUT, DEFAULT_TIMEOUT
from . import environment
from .account import Submission
from .courier import Courier
from .future import AttachedFuture, TaskFuture
from .keyfile import load_keys

UNSENT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of submissions not accepted yet, beyond which `submit` blocks."""

POSTED_TOGETHER: Final = 1_000
"""Tasks that `submit_many` prepares before it hands them over."""

POSTED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of payloads that it prepares before it hands them over."""

MAP_WINDOW: Final = 2_000
"""Tasks that `map` keeps submitted ahead of the result it yields next."""

HURRY: Final = 0.5
"""Seconds that an interrupted program waits for unsent submissions."""

Payload = bytes | bytearray | memoryview


class Client:
    """A client of the cluster at `hosts` (`host:port[,host:port...][/chroot]`). Thread-safe.

    `login` has the credentials and certificates presented to ZooKeeper. With `key_file`, payloads,
    options and results are encrypted, and only workers that have the key get the tasks. `hosts`,
    `login` and `key_file` default to the environment variables that `mwctl` reads: MWCTL_HOSTS,
    MWCTL_CREDENTIALS, MWCTL_TLS_CA, MWCTL_KEY_FILE and so on. `Login()` and `key_file=""` mean
    none, regardless of the environment.

    `session_timeout` and `connect_timeout` are in seconds. A task's status is deleted as soon as
    its future has the result; with `acknowledge`, only when `acknowledge` is called with the
    future, so that a result cannot be lost between its arrival and its use.

    Raises Unavailable if no ZooKeeper answers within `connect_timeout`, or if there is no cluster
    at the hosts string: only masters and workers create its tree. Raises NotAuthorized if ZooKeeper
    denies access; BadConfiguration if the hosts, the login or the key file are invalid. Close the
    client, or use it in a `with` statement. It cannot be used in a process forked later: there, all
    methods but `close` raise ClientForked. Create a client in each process.
    """

    def __init__(
        self,
        hosts: str | None = None,
        *,
        login: Login | None = None,
        session_timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        acknowledge: bool = False,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        hosts = environment.hosts() if hosts is None else hosts
        if not isinstance(hosts, str):
            raise TypeError(f"hosts={limits.shown(hosts)}: expected text, host:port[,...][/chroot]")
        session_timeout = _seconds(session_timeout, "session_timeout")
        connect_timeout = _seconds(connect_timeout, "connect_timeout")
        login = environment.login() if login is None else login
        key_file = environment.key_file() if key_file is None else key_file
        self._keys = load_keys(key_file) if key_file else None
        self._courier = Courier(hosts, login, session_timeout, keep=acknowledge)
        self._lock = threading.Lock()
        self._submitted = 0
        self._courier.start(connect_timeout)
        atexit.register(self._close_at_exit)

    def submit(
        self,
        payload: Payload,
        *,
        executor: str = DEFAULT_EXECUTOR,
        attempts: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> TaskFuture:
        """Submit one task.

        `attempts` is how many attempts may fail before the task fails (default: set by the
        executor). `options` are strings for the executor. The call returns at once, before the task
        is accepted (see `flush`); it waits only while more than 32 MiB are unsent.

        Raises TypeError for an argument of the wrong type; BadName, Refused or PayloadTooLarge for
        an invalid value; ClientClosed, ClientForked.
        """
        return self.submit_many([payload], executor=executor, attempts=attempts, options=options)[0]

    def submit_many(
        self,
        payloads: Iterable[Payload],
        *,
        executor: str = DEFAULT_EXECUTOR,
        attempts: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> list[TaskFuture]:
        """Submit a task for each payload; see `submit`.

        All of `payloads` are checked first: if one is refused, none is submitted.
        """
        self._courier.check()
        checked = _checked(payloads)
        options = {} if options is None else options
        head = self._head(executor, attempts, options)
        futures: list[TaskFuture] = []
        while checked:
            self._courier.wait_until_unsent(UNSENT_BYTES, None)
            group = _next_group(checked)
            with self._lock:  # one step, so that tasks are sent in numerical order
                submissions = [self._prepare(payload, executor, options, head) for payload in group]
                self._courier.post(submissions)
            futures += [submission.future for submission in submissions]
        return futures

    def map(
        self,
        executor: str,
        payloads: Iterable[Payload],
        *,
        timeout: float | None = None,
        window: int = MAP_WINDOW,
        attempts: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Iterator[bytes]:
        """Yield the result of each payload, in order, with at most `window` submitted ahead.

        `attempts` and `options` are those of `submit`. Tasks are submitted as results are consumed,
        the first `window` of them with the first result. Raises the error of the first task without
        a result; TimeoutError if a result has not arrived `timeout` seconds after the call.
        """
        self._courier.check()
        deadline = None if timeout is None else time.monotonic() + _seconds(timeout, "timeout")
        if type(window) is not int or window < 1:
            raise ValueError(f"window={limits.shown(window)}: expected a whole number from 1")
        self._head(executor, attempts, {} if options is None else options)
        return self._map(executor, payloads, deadline, window, attempts, options)

    def _map(
        self,
        executor: str,
        payloads: Iterable[Payload],
        deadline: float | None,
        window: int,
        attempts: int | None,
        options: Mapping[str, str] | None,
    ) -> Iterator[bytes]:
        ahead: deque[TaskFuture] = deque()
        for payload in payloads:
            ahead.append(
                self.submit(payload, executor=executor, attempts=attempts, options=options)
            )
            if len(ahead) >= window:
                yield ahead.popleft().result(_left(deadline))
        while ahead:
            yield ahead.popleft().result(_left(deadline))

    def attach(self, task_ids: Iterable[str]) -> list[TaskFuture]:
        """Futures of tasks that other clients submitted, in the order of their ids.

        Their statuses are read but not deleted: that is done by the client that submitted the task,
        or by the master when the time to live ends. A future ends with NotFound if the task does
        not exist, or no longer; with NotAuthorized if ACLs forbid reading it. With a key file, the
        tasks must be sealed with one of its keys, else the future ends with SealBroken. Futures
        still waiting when this client is closed end with ClientClosed.

        Raises BadName for an invalid task id; ValueError for a task that this client itself has
        submitted: use its own future.
        """
        self._courier.check()
        if isinstance(task_ids, str):
            raise TypeError("attach takes several task ids, not one: put it into a list")
        futures = []
        for task in task_ids:
            if paths.split_task(task)[0] == self._courier.account.client:
                raise ValueError(f"task {task} was submitted by this client: use its own future")
            futures.append(AttachedFuture(task, self._keys))
        self._courier.attach(futures)
        return list(futures)

    def acknowledge(self, *futures: TaskFuture) -> None:
        """Release the statuses of these futures, which are done; for `Client(acknowledge=True)`.

        Raises ValueError for one that is not done, and for one of another client.
        """
        self._courier.check()
        numbers = []
        for future in futures:
            client, number = paths.split_task(future.task_id)
            if client != self._courier.account.client:
                raise ValueError(
                    f"task {future.task_id} was submitted by another client, and only that client "
                    "can acknowledge it"
                )
            if not future.done():
                raise ValueError(f"task {future.task_id} has no result yet to acknowledge")
            numbers.append(number)
        self._courier.acknowledge(numbers)

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The tasks that were sent, but not yet confirmed as accepted by ZooKeeper.

        After the client was closed, check them with `mwctl tasks show ID`. Raises ClientForked.
        """
        self._courier.check()
        client = self._courier.account.client
        return tuple(paths.task_id(client, number) for number in self._courier.unconfirmed())

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything submitted so far is accepted, for at most `timeout` seconds.

        Once accepted, a task outlives this client. Raises Unavailable if time runs out.
        """
        self._courier.check()
        timeout = None if timeout is None else _seconds(timeout, "timeout")
        if not self._courier.wait_until_unsent(0, timeout):
            raise Unavailable(
                f"not everything was accepted within {timeout:g} s; pending tasks are still sent, "
                "and accepted at most once: check that ZooKeeper is up"
            )

    def close(self, timeout: float = 30.0) -> None:
        """Send what is unsent, within `timeout` seconds, and end the session.

        It returns about a second later at the latest, even if ZooKeeper does not answer. Futures
        still waiting end with ClientClosed, which says whether the task was accepted; accepted
        tasks still run. In a process forked from the client's own it does nothing.
        """
        timeout = _seconds(timeout, "timeout")
        if self._courier.forked:
            return
        atexit.unregister(self._close_at_exit)
        self._courier.close(timeout)

    def _close_at_exit(self) -> None:
        interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
        self.close(HURRY if interrupted else 30.0)

    def __enter__(self) -> Client:
        self._courier.check()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client; within 2 seconds after Ctrl-C."""
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self.close(HURRY)
        else:
            self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a Client cannot be sent to another process: create one in each process")

    def _head(self, executor: str, attempts: int | None, options: Mapping[str, str]) -> bytes:
        """The record header in front of each payload of one call.

        Raises TypeError, BadName, Refused and PayloadTooLarge for invalid values.
        """
        limits.check_options(options)
        owner = self._courier.owner
        task = Task("", executor, time.time(), attempts, options, owner=owner)
        if self._keys is not None:  # then the options are sealed, together with each payload
            task = task._replace(options={}, sealed=self._keys.ids[0])
        return records.task_head(task)

    def _prepare(
        self, payload: bytes, executor: str, options: Mapping[str, str], head: bytes
    ) -> Submission:
        """A submission of a checked payload, with the next number."""
        self._submitted += 1
        number = self._submitted
        task_id = paths.task_id(self._courier.account.client, number)
        seal = None
        if self._keys is not None:
            seal = self._keys.seal(task_id, executor)
            payload = seal.payload(payload, options)
        create = Create(paths.task(task_id), head + payload, owners=(self._courier.owner,))
        return Submission(number, create, TaskFuture(task_id, seal))


def _checked(payloads: Iterable[Payload]) -> deque[Payload]:
    """The payloads, without copies. Raises TypeError and PayloadTooLarge."""
    if isinstance(payloads, bytes | bytearray | memoryview | str):
        raise TypeError("submit_many takes several payloads, not one: put it into a list")
    checked: deque[Payload] = deque()
    for payload in payloads:
        if not isinstance(payload, Payload):
            raise TypeError(f"a payload is bytes, not {type(payload).__name__}: encode it")
        checked.append(payload)
        size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        limits.check_size(size, f"payload {len(checked)}")
    return checked


def _next_group(payloads: deque[Payload]) -> list[bytes]:
    """Remove the next payloads from the queue, as bytes: a bounded number and size."""
    group: list[bytes] = []
    total = 0
    while payloads and len(group) < POSTED_TOGETHER and total < POSTED_BYTES:
        payload = payloads.popleft()
        if type(payload) is not bytes:
            payload = bytes(payload)
            limits.check_payload(payload, "a payload that was changed during the call")
        total += len(payload)
        group.append(payload)
    return group


def _seconds(value: float, name: str) -> float:
    """A time in seconds, capped at the longest wait of threads. Raises TypeError and ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={limits.shown(value)}: expected a number of seconds")
    if value != value:
        raise ValueError(f"{name} is not a number of seconds")
    return float(max(0.0, min(value, threading.TIMEOUT_MAX)))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
