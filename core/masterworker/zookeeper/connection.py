"""What a session is made of: a kazoo client, with the settings that kazoo has wrong by default."""

from __future__ import annotations

import logging
import re

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.retry import KazooRetry

from ..words.errors import BadConfiguration
from ..words.login import Login
from . import tls
from .forks import disown_in_children

_log = logging.getLogger("masterworker.kazoo")
_log.setLevel(logging.ERROR)  # below INFO it writes credentials and payloads

_HOSTS = re.compile(r"[^\s/,]+(,[^\s/,]+)*(/[^\s/]+)*/?\Z")


def kazoo_client(hosts: str, login: Login, timeout: float) -> KazooClient:
    """A client that is not started. Raises BadConfiguration for hosts or files that are wrong.

    `timeout` is the session's, in seconds.
    """
    shown = []
    if login.credentials is not None:
        shown.append(("digest", f"{login.credentials.user}:{login.credentials.password}"))
    if not _HOSTS.match(hosts):
        raise _no_hosts(hosts)
    try:
        kazoo = KazooClient(
            hosts=hosts,
            timeout=timeout,
            auth_data=shown,
            logger=_log,
            connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0),
        )
    except (ValueError, KazooException) as error:
        raise _no_hosts(hosts) from error
    if login.tls is not None:
        tls.use(kazoo, login.tls)
    disown_in_children(kazoo)
    return kazoo


def _no_hosts(hosts: str) -> BadConfiguration:
    return BadConfiguration(
        f"{hosts!r} is no hosts string: expected host:port[,host:port...][/chroot]"
    )
