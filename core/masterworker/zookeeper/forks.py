"""Keeps forked child processes from touching the parent's kazoo client.

The child has a copy of the session's sockets but none of its threads. Our own objects refuse to be
used there. kazoo, however, tries to stop its threads when the interpreter exits. In a child this
acquires locks that may have been held at the time of the fork, and can hang forever.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Final

from kazoo.client import KazooClient

_clients: Final[weakref.WeakSet[KazooClient]] = weakref.WeakSet()


def disown_in_children(kazoo: KazooClient) -> None:
    """Make this client inert in every process forked from this one."""
    _clients.add(kazoo)


def _in_child() -> None:
    for kazoo in list(_clients):
        atexit.unregister(kazoo.handler.stop)
    _clients.clear()


os.register_at_fork(after_in_child=_in_child)
