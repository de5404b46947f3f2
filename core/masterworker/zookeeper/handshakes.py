"""Gives kazoo's connection handshake time limits that suit a session.

kazoo waits for the answer to a handshake for the whole session timeout. That causes two problems. A
ZooKeeper server that is just starting can accept a connection and neither answer nor close it (3.8
fails on its own unopened database), and a process that reconnects at that moment loses its session
while waiting. And if only the path back to us is broken, each handshake that arrives renews the
session at the server, so the tasks of a process that stopped them long ago are never recovered.

So the first handshake gets a fraction of the session timeout, and each unanswered one doubles it.
Once all handshakes have gone unanswered for a whole session timeout, the session is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from kazoo.client import KazooClient
from kazoo.exceptions import SessionExpiredError
from kazoo.protocol.serialization import Connect

from . import internals
from .tls import is_distrust

FIRST_SHARE: Final = 0.2
"""The fraction of the session timeout that the first handshake may take.

An answer takes milliseconds; a fifth of the default timeout leaves a busy server two seconds."""


NAMELESS: Final = 0.5
"""Seconds for which no server's name must resolve before the names count as unresolvable."""


class Handshakes:
    """Limits the time of a kazoo client's handshakes; `timeout` is the session's, in seconds.

    `unanswered` is called with the reason, on kazoo's thread, when the session is given up:
    handshakes were sent for a whole timeout and none was answered. A handshake that is refused, or
    whose connection is closed, counts as answered, because the server does not renew the session
    then. Before the first answer there is no session to give up. `failure` is the reason why the
    last connection failed; `unknown` are the hosts whose names did not resolve in the last attempt.
    """

    def __init__(
        self, kazoo: KazooClient, timeout: float, unanswered: Callable[[str], None]
    ) -> None:
        self.timeout = timeout
        self.failure: BaseException | None = None
        self.unknown: list[str] = []
        self._unknown_since: float | None = None
        self._distrusts = 0
        self._servers = len(kazoo.hosts)
        self._unanswered = unanswered
        self._patience = timeout * FIRST_SHARE
        self._silent_since: float | None = None
        self._kazoo = kazoo
        handler = kazoo.handler
        self._timed_out = handler.timeout_exception
        self._connect = internals.replace_connect(kazoo, self._connecting)
        self._expand = internals.replace_expand(kazoo, self._expanding)
        self._invoke = internals.replace_invoke(kazoo, self._invoking)
        self._open, handler.create_connection = handler.create_connection, self._opening

    @property
    def hopeless(self) -> bool:
        """Whether all servers were tried and each failed by its certificate or its name."""
        return self.nameless or self._distrusts > self._servers

    @property
    def nameless(self) -> bool:
        """Whether no server's name has resolved for a while."""
        since = self._unknown_since
        return since is not None and time.monotonic() - since >= NAMELESS

    def _expanding(self) -> Any:
        """Resolve the servers' names, and note those that kazoo silently drops."""
        found = self._expand()
        known = {host for host, *_ in found}
        hosts = [host.strip() for host, _ in self._kazoo.hosts]
        self.unknown = sorted({host for host in hosts if host not in known})
        if found:
            self._unknown_since = None
        elif self._unknown_since is None:
            self._unknown_since = time.monotonic()
        return found

    def _connecting(self, *where: Any) -> Any:
        """Connect, and note the timeout negotiated with the server, which kazoo does not expose.

        It may be shorter than requested, and a worker must stop its attempts before it elapses.
        """
        try:
            read_timeout, connect_timeout = self._connect(*where)
        except Exception as error:
            self.failure = error.__context__ or error  # the cause says more than kazoo's own error
            self._distrusts = self._distrusts + 1 if is_distrust(self.failure) else 0
            raise
        self.timeout = read_timeout * 1.5 / 1000.0  # kazoo's read timeout is two thirds of it
        self._patience = self.timeout * FIRST_SHARE
        return read_timeout, connect_timeout

    def _opening(self, *where: Any, timeout: float, **options: Any) -> Any:
        try:
            return self._open(*where, timeout=min(timeout, self._patience), **options)
        except TimeoutError:
            self._patience *= 2.0
            raise

    def _invoking(self, timeout: float, request: Any, xid: Any = None) -> Any:
        if not isinstance(request, Connect):
            return self._invoke(timeout, request, xid)
        now = time.monotonic()
        since = now if self._silent_since is None else self._silent_since
        self._silent_since = None
        left = max(since + self.timeout - now, 0.01)
        try:
            return self._invoke(min(timeout, self._patience, left), request, xid)
        except self._timed_out:
            self._patience *= 2.0
            if time.monotonic() < since + self.timeout or not request.session_id:
                self._silent_since = since
                raise
            why = f"handshakes went unanswered for {self.timeout:g} s"
            self._unanswered(why)
            raise SessionExpiredError(why) from None  # else kazoo would go on renewing the session
