"""Our own narrow session on the model: what `zookeeper/session.py` offers, with faults on demand.

Requests are under way until they are delivered, in their order. Whoever waits for an answer lets
others run first (`Clock.pause`); then everything before it is delivered, unless the connection was
cut meanwhile. Requests cut off can be dropped, carried out unanswered, or left to arrive much
later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from masterworker.words import paths
from masterworker.words.errors import ConnectionLost, MasterworkerError, SessionLost
from masterworker.zookeeper.operations import Code, Create, Found, Names, Operation, Refusal, Znode
from tests.model.store import Callback, Kind, Replica, Store, children

T = TypeVar("T")

READ_TOGETHER = 3
"""Znodes in one of the requests of `read_each`: few, so that much can happen in between."""


class Wake(Protocol):
    """What is set when something happened."""

    def set(self) -> None: ...


class Clock(Protocol):
    """Who says what time it is, and lets others run while somebody waits."""

    def now(self) -> float:
        """Monotonic seconds."""

    def pause(self, ready: Callable[[], bool]) -> None:
        """Let others run; go on some time after `ready` holds."""


class Alone:
    """The clock of a program in which nobody else runs."""

    def now(self) -> float:
        return 0.0

    def pause(self, ready: Callable[[], bool]) -> None:
        pass


class Answer(Generic[T]):
    """The answer to a request: a Reply or a Verdict of our session."""

    def __init__(
        self, session: ModelSession, request: Callable[[], T], writes: Sequence[Operation] = ()
    ) -> None:
        self.writes = writes
        self._session = session
        self._request = request
        self._deadline = session.clock.now() + session.timeout
        self._outcome: T | MasterworkerError | None = None
        self.settled = False

    def settle(self) -> None:
        """Carry the request out."""
        self._outcome = self._request()
        self.settled = True

    def fail(self, error: MasterworkerError) -> None:
        """Nobody will hear the answer."""
        self._outcome = error
        self.settled = True

    def _is_ready(self) -> bool:
        session = self._session
        return self.settled or session.connected or session.clock.now() >= self._deadline

    def wait(self) -> T | None:
        session = self._session
        session.clock.pause(self._is_ready)
        while not self.settled and session.connected:
            session.deliver()
        if not self.settled:
            session.abandon("no answer in time")
        if isinstance(self._outcome, MasterworkerError):
            raise self._outcome
        if isinstance(self._outcome, Refusal) and self._outcome.code == Code.SESSION_EXPIRED:
            session.abandon("it expired during a multi")
            raise SessionLost("the session expired during a multi")
        return self._outcome


class ModelSession:
    """A session with the model; see `zookeeper.session.Session` for what its methods mean.

    The tree is open: nobody has an identity, and no access list is looked at.
    """

    def __init__(
        self,
        store: Store,
        wake: Wake,
        *,
        clock: Clock | None = None,
        timeout: float = 10.0,
        replica: Replica | None = None,
    ) -> None:
        self.hosts = "the model"
        self.access = None
        self.me: tuple[str, ...] = ()
        self.wake = wake
        self.clock = clock or Alone()
        self.timeout = timeout
        self.lost = False
        self.connected = False
        self.identity = 0
        self.confirmed = self.clock.now()
        self.under_way: deque[Answer[Any]] = deque()
        self.seen = 0
        self._store = store
        self.replica = replica or store.replicas[0]

    # --- its life ----------------------------------------------------------------------------

    def start(self, connect_timeout: float = 0.0) -> None:
        self.identity = self._store.new_session()
        self.confirmed = self.clock.now()
        self.connect(self.replica)

    def close(self, timeout: float = 0.0) -> None:
        """In order: what was sent before still goes through, then the session ends."""
        if self.connected:
            while self.under_way and self.connected:
                self.deliver()
            self._store.end_session(self.identity)
            self.cut()
        self.abandon("it is closed")

    def abandon(self, why: str) -> None:
        self.lost = True
        self._fail_all(SessionLost(f"the session is over: {why}"))
        self.wake.set()

    def connect(self, replica: Replica) -> None:
        """Come back, or find out that the session is over."""
        if self.lost or self.connected:
            return
        self.replica = replica
        self.connected = replica.connect(self.identity, self.seen, self._hung_up)
        if not self.connected:
            self.abandon("the server has ended it")
        self.wake.set()

    def cut(self, arriving: int = 0) -> list[Sequence[Operation]]:
        """Break the connection; the first `arriving` requests under way are carried out unheard.

        Returns the writes that were neither carried out nor answered: they may yet arrive.
        """
        for _ in range(arriving):
            if self.connected and self.under_way:
                answer = self.under_way.popleft()
                answer.settle()
                answer.fail(ConnectionLost("the reply was lost"))
        stray = [answer.writes for answer in self.under_way if answer.writes]
        if self.connected:
            self._hung_up()
        return stray

    def _hung_up(self) -> None:
        self.connected = False
        self._fail_all(ConnectionLost("the connection broke"))
        for callback in self.replica.disconnect(self.identity):
            callback(None)
        self.wake.set()

    def _fail_all(self, error: MasterworkerError) -> None:
        while self.under_way:
            self.under_way.popleft().fail(error)

    # --- being heard -------------------------------------------------------------------------

    def beat(self) -> None:
        if self.lost:
            return
        sent = self.clock.now()

        def request() -> None:
            if self.identity in self._store.alive:
                self.confirmed = max(self.confirmed, sent)

        self._send(request)

    def catch_up(self) -> None:
        self._send(self.replica.catch_up).wait()

    # --- requests ----------------------------------------------------------------------------

    def deliver(self) -> None:
        """The oldest request under way arrives, is carried out, and is answered."""
        answer = self.under_way.popleft()
        answer.settle()
        self.seen = max(self.seen, self.replica.applied)

    def commit(self, operations: Sequence[Operation]) -> Answer[Refusal | None]:
        def request() -> Refusal | None:
            refusal = self._store.commit(self.identity, operations)
            self.replica.catch_up()  # a server answers a write once it has applied it
            return refusal

        return self._send(request, operations)

    def children(self, path: str, watch: Callback | None = None) -> Answer[list[str] | None]:
        def request() -> list[str] | None:
            if watch is not None and path in self.replica.tree:
                self.replica.watch(self.identity, Kind.CHILDREN, path, watch)
            return children(self.replica.tree, path)

        return self._send(request)

    def get(self, path: str, watch: Callback | None = None) -> Znode | None:
        return self.ask(path, watch)()

    def ask(self, path: str, watch: Callback | None = None) -> Callable[[], Znode | None]:
        def request() -> Znode | None:
            if watch is not None and path in self.replica.tree:
                self.replica.watch(self.identity, Kind.DATA, path, watch)
            return self.replica.tree.get(path)

        return self._send(request).wait

    def list_together(self, names: Sequence[str]) -> list[Names]:
        def request() -> list[Names]:
            return [children(self.replica.tree, path) for path in names]

        return self._send(request).wait() or []

    def watch_existence(self, path: str, watch: Callback) -> bool:
        def request() -> bool:
            self.replica.watch(self.identity, Kind.DATA, path, watch)
            return path in self.replica.tree

        return self._send(request).wait() or False

    def read(self, names: Sequence[str]) -> list[Found]:
        def request() -> list[Found]:
            return [self.replica.tree.get(path) for path in names]

        return self._send(request).wait() or []

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, Found]]:
        for start in range(0, len(names), READ_TOGETHER):
            part = names[start : start + READ_TOGETHER]
            yield from zip(part, self.read(part), strict=True)

    def ensure_tree(self) -> None:
        for path, found in zip(paths.FOLDERS, self.read(paths.FOLDERS), strict=True):
            if found is None:
                self.commit([Create(path)]).wait()

    def _send(self, request: Callable[[], T], writes: Sequence[Operation] = ()) -> Answer[T]:
        if self.lost:
            raise SessionLost("the session is over")
        answer = Answer(self, request, writes)
        self.under_way.append(answer)
        return answer
