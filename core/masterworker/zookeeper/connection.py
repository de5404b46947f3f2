"""Creates the kazoo client of a session, with safe settings in place of kazoo's defaults."""

from __future__ import annotations

import logging

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from ..words.hosts import parse
from ..words.login import Login
from . import internals, tls
from .forks import disown_in_children

_log = logging.getLogger("masterworker.kazoo")
_log.setLevel(logging.ERROR)  # below INFO, kazoo logs credentials and payloads


def kazoo_client(hosts: str, login: Login, timeout: float) -> KazooClient:
    """A kazoo client that is not started. `timeout` is the session timeout in seconds.

    Raises BadConfiguration if the hosts or files are invalid.
    """
    shown = []
    if login.credentials is not None:
        shown.append(("digest", f"{login.credentials.user}:{login.credentials.password}"))
    internals.check()
    kazoo = KazooClient(
        hosts=str(parse(hosts)),
        timeout=timeout,
        auth_data=shown,
        logger=_log,
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
    )
    if login.tls is not None:
        tls.use(kazoo, login.tls)
    disown_in_children(kazoo)
    return kazoo
