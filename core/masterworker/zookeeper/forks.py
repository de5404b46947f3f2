"""What kazoo leaves in a process that is forked from one with a session.

The child has a copy of the session's sockets and none of its threads. Our own objects refuse to be
used there. kazoo, however, wants to stop its threads when the interpreter ends; in a child this
takes locks that may have been held at the moment of the fork, and can hang for ever.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Final

from kazoo.client import KazooClient

_clients: Final[weakref.WeakSet[KazooClient]] = weakref.WeakSet()


def disown_in_children(kazoo: KazooClient) -> None:
    """Let no process that is forked from this one do anything about this client."""
    _clients.add(kazoo)


def _in_child() -> None:
    for kazoo in list(_clients):
        atexit.unregister(kazoo.handler.stop)
    _clients.clear()


os.register_at_fork(after_in_child=_in_child)
