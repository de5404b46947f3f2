"""A session whose connection is away for a while."""

from __future__ import annotations

import pytest

from masterworker.words import paths
from masterworker.words.errors import ConnectionLost
from masterworker.zookeeper.operations import Create
from tests.faults.proxy import Proxy
from tests.integration.running import session
from tests.waiting import eventually


def test_request_without_a_connection_is_refused_at_once(proxy: Proxy, chroot: str) -> None:
    """It is not queued: no reply gets overdue and ends the session, and nothing is sent later."""
    with session(proxy.hosts(chroot)) as ours:
        ours.ensure_tree()
        proxy.refuse()
        proxy.reset()
        eventually(lambda: not ours.connected, what="the connection is gone")
        with pytest.raises(ConnectionLost, match="no connection to ZooKeeper at 127"):
            ours.commit([Create(paths.MASTER)])
        with pytest.raises(ConnectionLost):
            ours.children(paths.TASKS)
        proxy.accept()
        eventually(lambda: ours.connected, what="it is back")
        assert ours.read([paths.MASTER]) == [None]
