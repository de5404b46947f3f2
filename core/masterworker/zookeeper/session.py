"""One ZooKeeper session, from start to end; other modules use kazoo only through it.

A lost session is never used again: kazoo would silently continue with a new one, and send in it
requests meant for the old one. The owner creates a new Session, and everything tied to the old one
(a term as primary, an incarnation) is over.

Callbacks on kazoo's threads only set flags; all other work happens in the calling thread.
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
"""Default session timeout: seconds of silence after which ZooKeeper ends a session."""

CONNECT_TIMEOUT: Final = 6.0
"""Seconds to wait for the first connection; with the start of a command it stays below 10 s."""

POLL_INTERVAL: Final = 0.05
"""Seconds between checks whether the first connection can still succeed."""

MISSED_BEATS: Final = 4
"""Unanswered heartbeats after which a connection counts as dead; six are sent per timeout. They are
counted, not timed, because a machine that was suspended has only not read the answers yet."""

FIRST_READ: Final = 16
"""Znodes in a multi-read while their sizes are unknown."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds to wait for kazoo to close a session; its stop() can hang after failed authentication."""


class Session:
    """A ZooKeeper session.

    `login` is what the session presents to ZooKeeper. `wake` is set whenever the connection's state
    changes or a watch fires; the owner's loop waits on it. Times are seconds. Once the session has
    started, `access` has the ACLs of a locked tree, or None for an open one.
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
        """Send times of this connection's heartbeats that are not answered yet."""
        self._read_count = FIRST_READ
        self._kazoo = kazoo_client(hosts, self._login, timeout)
        self._kazoo.add_listener(self._state_changed)
        self._handshakes = Handshakes(self._kazoo, timeout, self.abandon)

    # --- life cycle --------------------------------------------------------------------------

    def start(self, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        """Connect, and find out whether the tree is locked.

        Raises Unavailable, naming the hosts tried, if no server answers in time; NotAuthorized if
        the tree is locked and does not know this process's identity.
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
            log.warning("ignoring unknown host %s in %s: check --hosts", names, self.hosts)
        self._confirmed = time.monotonic()
        try:
            self.catch_up()
            self.access = learn(self, self._login)
        except MasterworkerError as error:
            self.close(timeout=0.5)
            if not isinstance(error, ConnectionLost | SessionLost):
                raise
            raise Unavailable(f"ZooKeeper at {self.hosts} is not answering: {error}") from error

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the session, so that its ephemeral znodes vanish at once. Can be called twice.

        A session that is not closed within `timeout` seconds continues closing in the background.
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
        """Declare the session lost, whatever state kazoo reports."""
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
        """The path prefix of all others; empty for none."""
        return str(self._kazoo.chroot)

    @property
    def me(self) -> tuple[str, ...]:
        """The owners of znodes that this process creates for itself; none in an open tree."""
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
        """The session timeout negotiated with the server, in seconds."""
        return self._handshakes.timeout

    @property
    def identity(self) -> int:
        """The session's id on the server, which ephemeral znodes have as their owner."""
        client = self._kazoo.client_id
        return 0 if client is None else int(client[0])

    # --- heartbeats --------------------------------------------------------------------------

    @property
    def confirmed(self) -> float:
        """The latest monotonic second at which the session is known to have been alive.

        This is when the newest answered heartbeat was *sent*: the leader handled it later.
        """
        return self._confirmed

    def beat(self) -> None:
        """Send a heartbeat that the leader must answer; `confirmed` then advances.

        The heartbeat is a `sync`, because a follower cut off from its leader continues to answer
        reads for a while after the leader has ended the session.

        If too many heartbeats are unanswered, the connection is dropped instead. kazoo detects a
        dead connection by pings, but sends none while there are requests to send. These heartbeats
        would therefore keep a dead connection forever, and the session too wherever they arrive.
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
        """Let the server catch up with its leader.

        A new session may be connected to a server that lags behind what an earlier session saw.
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
        return self._reply(result, f"a listing of {path}")

    def get(self, path: str, watch: Callable[[Any], None] | None = None) -> Znode | None:
        """A znode's data; `watch` is called once when it next changes."""
        return self.ask(path, watch)()

    def ask(
        self, path: str, watch: Callable[[Any], None] | None = None
    ) -> Callable[[], Znode | None]:
        """Request a znode's data; the returned function waits for it. Several can be under way."""
        self._require()
        result = self._kazoo.get_async(path, watch=watch)
        reply = self._reply(result, f"a read of {path}")

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
        return self._reply(result, f"a check of {path}").wait() is not None

    def read(self, names: Sequence[str]) -> list[Found]:
        """The data of a few znodes, all as of one moment; always a single request."""
        return self._ask(names).wait() or []

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, Found]]:
        """Read the data of many znodes one by one, in as few requests as their sizes allow.

        Sizes are known only after the read, so the number per request adapts: it doubles while
        replies are small and shrinks when they are large.
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
        """The names of several znodes' children in one request; use it for small listings only."""
        what = f"a listing of {len(names)} znodes, the first {names[0]}"
        return self.send(MultiList(names, self.chroot), what).wait() or []

    def _ask(self, names: Sequence[str]) -> Reply[list[Found]]:
        what = f"a read of {len(names)} znodes, the first {names[0]}"
        return self.send(MultiRead(names, self.chroot), what)

    def send(self, request: Any, what: str) -> Reply[Any]:
        """Send a request of any type; `what` names it in errors."""
        self._require()
        return self._reply(internals.submit(self._kazoo, request), what)

    def _reply(self, result: Any, what: str) -> Reply[Any]:
        return Reply(result, what, self.timeout, self.abandon)

    def _require(self) -> None:
        """Raise unless a request can be sent now.

        kazoo would queue it, and its reply would be overdue while the session only waits.
        """
        if self.lost:
            raise SessionLost(f"the session with {self.hosts} is over")
        if not self._kazoo.connected:
            raise ConnectionLost(f"there is no connection to ZooKeeper at {self.hosts} now")

    def ensure_tree(self) -> None:
        """Create the chroot and the folders that every role relies on, if missing."""
        chroot = self.chroot
        parts = [part for part in chroot.split("/") if part]
        wanted = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        above = len(wanted)
        wanted += [chroot + folder for folder in paths.FOLDERS]
        reply: Reply[list[Found]] = self.send(MultiRead(wanted, ""), f"a read of {chroot}/")
        found = reply.wait() or []
        for path, part in zip(wanted[:above], found[:above], strict=False):
            if part is None:
                self._make([path], "")
        folders = zip(paths.FOLDERS, found[above:], strict=False)
        self._make([folder for folder, one in folders if one is None], chroot)

    def _make(self, missing: list[str], chroot: str) -> None:
        """Create these paths below the chroot in one `multi`, so that none is seen alone.

        If some exist by now, the others follow one by one.
        """
        if not missing:
            return
        acl_of = self.access.of if self.access and chroot else None
        request = Multi([Create(path) for path in missing], chroot, acl_of)
        what = f"the creation of {chroot}{missing[0]}"
        refusal = Verdict(self.send(request, what)).wait()
        if refusal is None:
            return
        if refusal.code != Code.NODE_EXISTS:
            raise _refused(refusal, chroot + missing[refusal.index])
        if len(missing) > 1:
            for path in missing:
                self._make([path], chroot)


def _refused(refusal: Refusal, path: str) -> MasterworkerError:
    if refusal.code == Code.NO_AUTH:
        return NotAuthorized(f"ZooKeeper denied creating {path}: check --credentials or --tls-cert")
    return MasterworkerError(f"ZooKeeper refused to create {path}: {refusal}")


def _next_count(count: int, read: int, size: int) -> int:
    """How many znodes to request next, after a request for up to `count` returned `read` of them.

    `size` is their total number of bytes.
    """
    fitting = limits.READ_BYTES * read // max(size, 1)
    return max(1, min(limits.READ_COUNT, 2 * count, fitting))
