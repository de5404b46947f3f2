"""The client: what programs use to submit tasks and get their results.

with Client("127.0.0.1:2181") as client:
    future = client.submit(b"payload", executor="echo")
    future.result(timeout=10)
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Final

from ..words import limits, paths, records
from ..words.book import EXECUTOR as DEFAULT_EXECUTOR
from ..words.errors import Refused, Unavailable
from ..words.login import Login
from ..words.model import Task
from ..zookeeper.operations import Create
from ..zookeeper.session import CONNECT_TIMEOUT, DEFAULT_TIMEOUT
from .account import Submission
from .courier import Courier
from .future import TaskFuture
from .keyfile import load_keys

UNSENT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of submissions not accepted yet before `submit` blocks."""

POSTED_TOGETHER: Final = 1_000
"""Tasks that `submit_many` prepares before it hands them over."""

MAP_WINDOW: Final = 2_000
"""Tasks that `map` keeps submitted ahead of the result it yields next."""

_BYTES: Final = (bytes, bytearray, memoryview)


class Client:
    """A client of the cluster at `hosts` (`host:port[,host:port...][/chroot]`). Thread-safe.

    `login` is what is shown to ZooKeeper: credentials, certificates. `session_timeout` and
    `connect_timeout` are seconds. A task's status is deleted as soon as its future has the result;
    with `acknowledge`, only when `acknowledge` is called with the future, so that a result cannot
    be lost between its arrival and its use. With `key_file`, payloads, options and results are
    encrypted, and only workers that have the key get the tasks. Raises Unavailable if no ZooKeeper
    answers within `connect_timeout`; NotAuthorized if it does not let us in; BadConfiguration if
    there is something wrong with the key file. Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        hosts: str = "127.0.0.1:2181",
        *,
        login: Login | None = None,
        session_timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        acknowledge: bool = False,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._keys = None if key_file is None else load_keys(key_file)
        self._courier = Courier(hosts, login or Login(), session_timeout, keep=acknowledge)
        self._lock = threading.Lock()
        self._submitted = 0
        self._courier.start(connect_timeout)
        atexit.register(self.close)

    def submit(
        self,
        payload: bytes,
        *,
        executor: str = DEFAULT_EXECUTOR,
        attempts: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> TaskFuture:
        """Submit one task.

        `attempts` is how many attempts may fail before the task does (default: what the executor
        says); `options` are texts for the executor. It returns at once, before the task is
        accepted (see `flush`), unless a great deal is unsent: then it waits. Raises
        PayloadTooLarge, Refused, BadName.
        """
        return self.submit_many([payload], executor=executor, attempts=attempts, options=options)[0]

    def submit_many(
        self,
        payloads: Iterable[bytes],
        *,
        executor: str = DEFAULT_EXECUTOR,
        attempts: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> list[TaskFuture]:
        """Submit a task for each payload; see `submit`.

        If one of them is refused, none is submitted.
        """
        checked = _checked(payloads)
        paths.check_executor(executor)
        limits.check_options(options or {})
        if attempts is not None and not 1 <= attempts <= limits.MAX_ATTEMPTS:
            raise Refused(f"attempts={attempts}: a task can have 1 to {limits.MAX_ATTEMPTS}")
        head = self._head(executor, attempts, options or {})
        futures: list[TaskFuture] = []
        prepared: list[Submission] = []
        for payload in checked:
            prepared.append(self._prepare(payload, executor, options or {}, head))
            futures.append(prepared[-1].future)
            if len(prepared) >= POSTED_TOGETHER:
                self._post(prepared)
                prepared = []
        self._post(prepared)
        return futures

    def map(
        self,
        executor: str,
        payloads: Iterable[bytes],
        *,
        timeout: float | None = None,
        window: int = MAP_WINDOW,
    ) -> Iterator[bytes]:
        """Yield the result of each payload, in order, with at most `window` submitted ahead.

        Tasks are submitted as the results are asked for, the first `window` with the first. Raises
        what the first task without a result raises; TimeoutError if a result is not there `timeout`
        seconds after the call.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._map(executor, payloads, deadline, window)

    def _map(
        self, executor: str, payloads: Iterable[bytes], deadline: float | None, window: int
    ) -> Iterator[bytes]:
        ahead: deque[TaskFuture] = deque()
        for payload in payloads:
            ahead.append(self.submit(payload, executor=executor))
            if len(ahead) >= window:
                yield ahead.popleft().result(_left(deadline))
        while ahead:
            yield ahead.popleft().result(_left(deadline))

    def acknowledge(self, *futures: TaskFuture) -> None:
        """Let go of the statuses of these futures, which are done; for `Client(acknowledge=True)`.

        Raises ValueError for one that is not done.
        """
        for future in futures:
            if not future.done():
                raise ValueError(f"task {future.task_id} has no result yet to be acknowledged")
        self._courier.acknowledge([paths.split_task(future.task_id)[1] for future in futures])

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything submitted so far is accepted, `timeout` seconds at the most.

        Once accepted, a task outlives this client. Raises Unavailable if time runs out.
        """
        if not self._courier.wait_until_unsent(0, timeout):
            raise Unavailable(
                f"not everything was accepted within {timeout:g} s; what is accepted in the end "
                "is accepted once: is ZooKeeper up?"
            )

    def close(self, timeout: float = 30.0) -> None:
        """Send what is unsent, within `timeout` seconds, and end the session.

        Futures still waiting end with ClientClosed; their tasks go on.
        """
        atexit.unregister(self.close)
        self._courier.close(timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _head(self, executor: str, attempts: int | None, options: Mapping[str, str]) -> bytes:
        """What stands before each payload of one call, the same for all. Raises PayloadTooLarge."""
        owner = self._courier.owner
        task = Task("", executor, time.time(), attempts, options, owner=owner)
        if self._keys is not None:  # then the options are sealed, together with each payload
            task = task._replace(options={}, sealed=self._keys.ids[0])
        return records.task_head(task)

    def _prepare(
        self, payload: bytes, executor: str, options: Mapping[str, str], head: bytes
    ) -> Submission:
        """A submission of a payload that was checked: it has a number, which must be used."""
        with self._lock:
            self._submitted += 1
            number = self._submitted
        task_id = paths.task_id(self._courier.account.client, number)
        seal = None
        if self._keys is not None:
            seal = self._keys.seal(task_id, executor)
            payload = seal.payload(payload, options)
        create = Create(paths.task(task_id), head + payload, owners=(self._courier.owner,))
        return Submission(number, create, TaskFuture(task_id, seal))

    def _post(self, submissions: list[Submission]) -> None:
        self._courier.wait_until_unsent(UNSENT_BYTES, None)
        self._courier.post(submissions)


def _checked(payloads: Iterable[bytes]) -> list[bytes]:
    """The payloads as bytes. Raises TypeError and PayloadTooLarge before any is submitted."""
    if isinstance(payloads, bytes | bytearray | memoryview | str):
        raise TypeError("submit_many takes several payloads, not one: put it into a list")
    checked = []
    for payload in payloads:
        if not isinstance(payload, _BYTES):
            raise TypeError(f"a payload is bytes, not {type(payload).__name__}: encode it")
        checked.append(bytes(payload))
        limits.check_payload(checked[-1], f"payload {len(checked)}")
    return checked


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
