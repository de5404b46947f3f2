"""A client and a worker that follow the ZooKeeper book, written from its description.

They know nothing of masterworker: raw data in, the text `done` out.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from types import TracebackType

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import WatchedEvent

from tests.integration.running import connected
from tests.waiting import DEADLINE


class BookClient:
    """Submits tasks as sequential znodes and waits for the status of each with a watch on it."""

    def __init__(self, kazoo: KazooClient) -> None:
        self._kazoo = kazoo
        self._finished: dict[str, threading.Event] = {}

    def submit(self, data: bytes) -> str:
        """Submit a task; return its name."""
        name: str = self._kazoo.create("/tasks/task-", data, sequence=True).rpartition("/")[2]
        finished = self._finished[name] = threading.Event()

        def changed(_event: WatchedEvent) -> None:
            finished.set()

        if self._kazoo.exists(f"/status/{name}", watch=changed):
            finished.set()
        return name

    def status(self, name: str, deadline: float = DEADLINE) -> bytes:
        """The status of a task, once it has one; it is then deleted, as by the book's client."""
        assert self._finished[name].wait(deadline), f"no status of {name} within {deadline:g} s"
        data: bytes = self._kazoo.get(f"/status/{name}")[0]
        self._kazoo.delete(f"/status/{name}")
        return data


class BookWorker:
    """Creates its folder, registers as `Idle`, and runs the tasks in its folder.

    `executed` has each task with the data it saw. One that is not `willing` takes tasks and never
    runs them. Leaving the block ends its session.
    """

    def __init__(self, hosts: str, *, willing: bool = True) -> None:
        self.name = f"worker-{secrets.token_hex(4)}"
        self.executed: list[tuple[str, bytes]] = []
        self._hosts = hosts
        self._willing = willing
        self._wake = threading.Event()
        self._ended = False
        self._stack = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def __enter__(self) -> BookWorker:
        self._kazoo = self._stack.enter_context(connected(self._hosts))
        self._kazoo.create(f"/assign/{self.name}", b"")
        self._kazoo.create(f"/workers/{self.name}", b"Idle", ephemeral=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join(10)
        self._stack.close()

    def assigned(self) -> list[str]:
        """The tasks in its folder now."""
        names: list[str] = self._kazoo.get_children(f"/assign/{self.name}")
        return names

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._ended:
                return
            names = self._kazoo.get_children(f"/assign/{self.name}", watch=self._changed)
            for task in sorted(names) if self._willing else ():
                self._execute(task)
            self._wake.wait()

    def _changed(self, _event: WatchedEvent) -> None:
        self._wake.set()

    def _execute(self, task: str) -> None:
        """Run one task: two writes, the status first, as in the book."""
        data, _ = self._kazoo.get(f"/assign/{self.name}/{task}")
        self.executed.append((task, data))
        self._kazoo.create(f"/status/{task}", b"done")
        with contextlib.suppress(NoNodeError):
            self._kazoo.delete(f"/assign/{self.name}/{task}")


@contextlib.contextmanager
def book_client(hosts: str) -> Iterator[BookClient]:
    """A client of the book's with a session of its own."""
    with connected(hosts) as kazoo:
        yield BookClient(kazoo)
