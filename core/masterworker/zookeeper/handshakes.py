"""How a connection begins: kazoo's handshake, with patience that fits a session.

kazoo waits for the answer to a handshake as long as a session may be silent. Two things go wrong
with that. A ZooKeeper that is just starting can take a connection and never answer nor close it
(3.8 stumbles over its own unopened database), and whoever reconnects in that moment loses its
session waiting. And where only the way back to us is broken, each handshake that arrives renews the
session at the server, so that nobody recovers the tasks of a process that has long stopped them.

So a handshake is given a fraction of the session's timeout, twice as much after each that had no
answer; and once all of them have gone unanswered for as long as a session may be silent, the
session is given up.
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
"""The part of a session's timeout that the first handshake may take.

An answer takes milliseconds; a fifth of the default timeout leaves a busy server two seconds."""


NAMELESS: Final = 0.5
"""Seconds for which no server's name can be resolved before that is taken for an answer."""


class Handshakes:
    """Watches over a kazoo client's handshakes; `timeout` is the session's, in seconds.

    `unanswered` is told why, on kazoo's thread, when the session is given up: handshakes were sent
    for a whole timeout and none was answered. One that is refused, or whose connection is
    closed, counts as answered: then the server does not renew the session either. Before the first
    answer there is no session to give up. `failure` is why the last connection could not be made,
    `unknown` are the hosts whose names could not be resolved when it was last tried.
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
        """Whether all servers were tried, and certificates or names keep us from every one."""
        return self.nameless or self._distrusts > self._servers

    @property
    def nameless(self) -> bool:
        """Whether no server's name could be resolved for a while."""
        since = self._unknown_since
        return since is not None and time.monotonic() - since >= NAMELESS

    def _expanding(self) -> Any:
        """Resolve the servers' names, and learn which of them kazoo leaves out in silence."""
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
        """Connect, and learn what timeout the server agreed to, which kazoo keeps to itself.

        It may be shorter than what was asked for, and a worker must fall silent before it.
        """
        try:
            read_timeout, connect_timeout = self._connect(*where)
        except Exception as error:
            self.failure = error.__context__ or error  # kazoo's own says less than what caused it
            self._distrusts = self._distrusts + 1 if is_distrust(self.failure) else 0
            raise
        self.timeout = read_timeout * 1.5 / 1000.0  # kazoo reads for two thirds of it
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
            raise SessionExpiredError(why) from None  # or kazoo would go on renewing it
