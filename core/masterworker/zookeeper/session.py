"""One ZooKeeper session, from its start to its end: all that the rest of the house knows of kazoo.

A session is never used again once it is lost: kazoo would go on with a new one behind our back,
and send in it what was meant for the old. Whoever held it makes a new Session, and whatever hung
on the old one (an office, an incarnation) is over.

Callbacks of kazoo's threads do nothing here but set flags; everything else happens in the thread
that asks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from kazoo.protocol.states import KazooState, KeeperState

from ..words import limits, paths
from ..words.errors import (
    ConnectionLost,
    MasterworkerError,
    NotAuthorized,
    SessionLost,
    Unavailable,
)
from ..words.login import Login
from . import internals, tls
from .acls import AccessLists, learn
from .connection import kazoo_client
from .handshakes import Handshakes
from .operations import (
    Code,
    Create,
    Found,
    Multi,
    MultiList,
    MultiRead,
    Names,
    Operation,
    Refusal,
    Znode,
)
from .replies import Reply, Verdict

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds of silence after which ZooKeeper ends a session, unless somebody asks for others."""

CONNECT_TIMEOUT: Final = 6.0
"""Seconds to wait for the first connection: with a command's own start it stays below 10."""

POLL_INTERVAL: Final = 0.05
"""Seconds between looks at whether there is still hope for a first connection."""

MISSED_BEATS: Final = 4
"""Heartbeats without an answer after which a connection is taken for dead; they come six to a
timeout. They are counted, not timed: a machine that stood still has just not read the answers."""

FIRST_READ: Final = 16
"""Znodes in a multi-read while nothing is known of their sizes."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds to wait for kazoo to close a session; its stop() can hang after failed authentication."""


class Session:
    """A ZooKeeper session.

    `login` is what is shown to ZooKeeper. `wake` is set whenever the connection's state changes or
    a watch fires; the owner's loop waits on it. Times are seconds. `access` has the access lists of
    a locked tree, None for an open one, from when the session has started.
    """

    def __init__(
        self,
        hosts: str,
        *,
        login: Login | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        wake: threading.Event | None = None,
    ) -> None:
        self.hosts = hosts
        self.access: AccessLists | None = None
        self._login = login or Login()
        self.wake = wake or threading.Event()
        self._lost = threading.Event()
        self._confirmed = time.monotonic()
        self._unanswered: deque[float] = deque()
        """When the heartbeats were sent that are not answered yet, on this connection."""
        self._read_count = FIRST_READ
        self._kazoo = kazoo_client(hosts, self._login, timeout)
        self._kazoo.add_listener(self._state_changed)
        self._handshakes = Handshakes(self._kazoo, timeout, self.abandon)

    # --- its life ----------------------------------------------------------------------------

    def start(self, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        """Connect, and learn whether the tree is locked.

        Raises Unavailable, naming the hosts tried, if nobody answers in time; NotAuthorized if the
        tree is locked and does not know us.
        """
        connected = self._kazoo.start_async()
        until = time.monotonic() + connect_timeout
        while not connected.wait(POLL_INTERVAL) and time.monotonic() < until:
            if self._handshakes.hopeless:
                break
        if not self._kazoo.connected:
            state = self._kazoo.client_state
            self.close(timeout=0.5)
            if state == KeeperState.AUTH_FAILED:
                raise NotAuthorized(f"ZooKeeper at {self.hosts} refused the credentials")
            names = ", ".join(self._handshakes.unknown)
            if self._handshakes.nameless:
                raise Unavailable(
                    f"unknown host {names} in {self.hosts}: check the name in --hosts, or how this "
                    "machine resolves names"
                )
            trouble = tls.trouble(self.hosts, self._handshakes.failure, self._login.tls)
            raise trouble or Unavailable(
                f"no ZooKeeper answered within {connect_timeout:g} s at {self.hosts}: "
                "start one (`mwctl dev` starts a private one) or name another with --hosts"
                + ("" if self._login.tls else "; if that port speaks TLS, give --tls-ca")
                + (f"; unknown host {names}: check --hosts" if names else "")
            )
        if self._handshakes.unknown:
            names = ", ".join(self._handshakes.unknown)
            log.warning("unknown host %s in %s: it is left out", names, self.hosts)
        self._confirmed = time.monotonic()
        try:
            self.access = learn(self, self._login)
        except MasterworkerError as error:
            self.close(timeout=0.5)
            if not isinstance(error, ConnectionLost | SessionLost):
                raise
            raise Unavailable(f"ZooKeeper at {self.hosts} does not answer now: {error}") from error

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the session, so that its ephemeral znodes vanish at once. Can be called twice.

        What is not closed within `timeout` seconds goes on closing in the background.
        """
        self._lost.set()
        closer = threading.Thread(target=self._close, name="close-session", daemon=True)
        closer.start()
        closer.join(timeout)
        if closer.is_alive():
            log.info("the session with %s did not close in %g s", self.hosts, timeout)

    def _close(self) -> None:
        try:
            self._kazoo.stop()
            self._kazoo.close()
        except Exception as error:  # noqa: BLE001 - whatever kazoo raises, the session is over
            log.warning("closing the session with %s: %r", self.hosts, error)

    def abandon(self, why: str) -> None:
        """Declare the session lost, whatever kazoo thinks of it."""
        if not self._lost.is_set():
            log.warning("session with %s lost: %s", self.hosts, why)
        self._lost.set()
        self.wake.set()

    def _state_changed(self, state: str) -> None:
        if state == KazooState.LOST:
            self._lost.set()
        elif state == KazooState.SUSPENDED:
            log.warning("the connection to ZooKeeper at %s broke; trying to reconnect", self.hosts)
        else:
            log.info("connected to ZooKeeper at %s", self.hosts)
        self.wake.set()

    @property
    def chroot(self) -> str:
        """The path that all others are below; empty for none."""
        return str(self._kazoo.chroot)

    @property
    def me(self) -> tuple[str, ...]:
        """The owners of what this process creates for itself; none in an open tree."""
        return (self.access.me,) if self.access else ()

    @property
    def lost(self) -> bool:
        """Whether the session is over."""
        return self._lost.is_set()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return bool(self._kazoo.connected) and not self.lost

    @property
    def timeout(self) -> float:
        """Seconds of silence after which the server ends the session, as it agreed to."""
        return self._handshakes.timeout

    @property
    def identity(self) -> int:
        """The session's number on the server, which ephemeral znodes name as their owner."""
        client = self._kazoo.client_id
        return 0 if client is None else int(client[0])

    # --- being heard -------------------------------------------------------------------------

    @property
    def confirmed(self) -> float:
        """The latest monotonic second at which we know the session was alive at the leader.

        It is when the newest answered heartbeat was *sent*: the leader handled it later.
        """
        return self._confirmed

    def beat(self) -> None:
        """Send a heartbeat that the leader has to answer; `confirmed` tells of its return.

        A `sync`, because a follower cut off from its leader goes on answering reads for a while
        after the leader has ended the session.

        If too many have gone unanswered, the connection is given up instead. kazoo finds a dead
        connection by pings, and sends none while there are requests to be sent: these very
        heartbeats would keep it, and where they arrive the session too, for ever.
        """
        if len(self._unanswered) >= MISSED_BEATS:
            internals.drop_connection(self._kazoo)
            return
        self._unanswered.append(time.monotonic())

        def answered(result: Any) -> None:
            sent = self._unanswered.popleft()
            if result.successful():
                self._confirmed = max(self._confirmed, sent)

        self._kazoo.sync_async("/").rawlink(answered)

    def catch_up(self) -> None:
        """Let the server asked catch up with its leader.

        A new session may have come to one that lags behind what an earlier session of ours saw.
        """
        self._require()
        self._reply(self._kazoo.sync_async("/"), "a sync").wait()

    # --- requests ----------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> Verdict:
        """Carry out all operations or none."""
        what = f"a multi of {len(operations)} operations at {operations[0].path}"
        acl_of = self.access.of if self.access else None
        return Verdict(self.send(Multi(operations, self.chroot, acl_of), what))

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        """The names of a znode's children; `watch` is called once when they next change."""
        self._require()
        result = self._kazoo.get_children_async(path, watch=watch)
        return self._reply(result, f"the list of {path}")

    def get(self, path: str, watch: Callable[[Any], None] | None = None) -> Znode | None:
        """A znode's data; `watch` is called once when it next changes."""
        return self.ask(path, watch)()

    def ask(
        self, path: str, watch: Callable[[Any], None] | None = None
    ) -> Callable[[], Znode | None]:
        """Ask for a znode's data, and return what waits for it: several can be under way."""
        self._require()
        result = self._kazoo.get_async(path, watch=watch)
        reply = self._reply(result, f"the data of {path}")

        def wait() -> Znode | None:
            answer = reply.wait()
            if answer is None:
                return None
            data, stat = answer
            return Znode(
                data, stat.version, stat.czxid, stat.mzxid, stat.ephemeralOwner, stat.numChildren,
                stat.pzxid, stat.mtime / 1000,
            )  # fmt: skip

        return wait

    def watch_existence(self, path: str, watch: Callable[[Any], None]) -> bool:
        """Whether a znode exists; `watch` is called once when that changes, or its data does."""
        self._require()
        result = self._kazoo.exists_async(path, watch=watch)
        return self._reply(result, f"the existence of {path}").wait() is not None

    def read(self, names: Sequence[str]) -> list[Found]:
        """The data of a few znodes, all as of one moment: it is one request, however many."""
        return self._ask(names).wait() or []

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, Found]]:
        """The data of many znodes one by one, in as few requests as their sizes allow.

        Sizes are known only afterwards, so the count per request adapts: it doubles while replies
        are small and shrinks when they are not.
        """
        start = 0
        while start < len(names):
            part = names[start : start + self._read_count]
            start += len(part)
            count, self._read_count = self._read_count, FIRST_READ  # if this breaks the connection
            answer = self._ask(part).wait() or []
            self._read_count = count
            size = sum(len(znode.data) for znode in answer if isinstance(znode, Znode))
            self._read_count = _next_count(count, len(part), size)
            yield from zip(part, answer, strict=True)

    def list_together(self, names: Sequence[str]) -> list[Names]:
        """The children's names of several znodes, in one request: few, or of few children."""
        what = f"the lists of {len(names)} znodes at {names[0]}"
        return self.send(MultiList(names, self.chroot), what).wait() or []

    def _ask(self, names: Sequence[str]) -> Reply[list[Found]]:
        what = f"a read of {len(names)} znodes at {names[0]}"
        return self.send(MultiRead(names, self.chroot), what)

    def send(self, request: Any, what: str) -> Reply[Any]:
        """Send a request of any kind; `what` names it in errors."""
        self._require()
        return self._reply(internals.submit(self._kazoo, request), what)

    def _reply(self, result: Any, what: str) -> Reply[Any]:
        return Reply(result, what, self.timeout, self.abandon)

    def _require(self) -> None:
        """Raise unless a request can be sent now.

        kazoo would queue it, and its reply be overdue while the session is only waiting.
        """
        if self.lost:
            raise SessionLost(f"the session with {self.hosts} is over")
        if not self._kazoo.connected:
            raise ConnectionLost(f"there is no connection to ZooKeeper at {self.hosts} now")

    def ensure_tree(self) -> None:
        """Create the chroot and the folders every role relies on, where they are missing."""
        chroot = self.chroot
        parts = [part for part in chroot.split("/") if part]
        wanted = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        above = len(wanted)
        wanted += [chroot + folder for folder in paths.FOLDERS]
        reply: Reply[list[Found]] = self.send(MultiRead(wanted, ""), f"the tree at {chroot}/")
        for depth, found in enumerate(reply.wait() or []):
            if found is None:
                self._make(wanted[depth], chroot if depth >= above else "")

    def _make(self, path: str, chroot: str) -> None:
        """Make a folder of ours, or with no chroot, one above it; it may be there by now."""
        acl_of = self.access.of if self.access and chroot else None
        request = Multi([Create(path.removeprefix(chroot))], chroot, acl_of)
        refusal = Verdict(self.send(request, f"the creation of {path}")).wait()
        if refusal is not None and refusal.code != Code.NODE_EXISTS:
            raise _refused(refusal, path)


def _refused(refusal: Refusal, path: str) -> MasterworkerError:
    if refusal.code == Code.NO_AUTH:
        return NotAuthorized(f"ZooKeeper does not let us create {path}: the credentials do not do")
    return MasterworkerError(f"ZooKeeper refused to create {path}: {refusal}")


def _next_count(count: int, read: int, size: int) -> int:
    """How many znodes to ask for next, after a request for up to `count` brought `read` of them.

    `size` is how many bytes those had.
    """
    fitting = limits.READ_BYTES * read // max(size, 1)
    return max(1, min(limits.READ_COUNT, 2 * count, fitting))
