"""A session whose connection is lost for a while."""

from __future__ import annotations

import time

import pytest

from masterworker.dev.server import ZooKeeperServer
from masterworker.words import paths
from masterworker.words.errors import ConnectionLost, Unavailable
from masterworker.zookeeper.operations import Create
from masterworker.zookeeper.session import CONNECT_TIMEOUT
from tests.faults.proxy import Proxy
from tests.faults.relay import Relay
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


def test_a_server_by_its_ipv6_address(server: ZooKeeperServer, chroot: str) -> None:
    """The address stands in brackets, and the path behind it is heeded."""
    with Relay(server.port, ipv6=True) as relay, session(f"[::1]:{relay.port}{chroot}") as ours:
        ours.ensure_tree()
        assert ours.chroot == chroot
        assert ours.children("/tasks").wait() == []


UNKNOWN = "no-such-host.invalid"
"""A name that no resolver knows: RFC 2606 keeps it for that."""


def test_unknown_host_is_named_at_once() -> None:
    """Where no name can be resolved, it is said which, long before the time for connecting ends."""
    began = time.monotonic()
    with (
        pytest.raises(Unavailable, match=f"unknown host {UNKNOWN} in "),
        session(f"{UNKNOWN}:2181"),
    ):
        pass
    assert time.monotonic() - began < CONNECT_TIMEOUT


def test_one_unknown_host_of_several_is_a_warning(
    server: ZooKeeperServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The other servers are used, and the log names the typo."""
    with session(f"{UNKNOWN}:2181,{server.hosts}"):
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert f"unknown host {UNKNOWN}" in caplog.text
