"""The faults are what they say: proved with plain kazoo against a real server."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NoAuthError, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from masterworker.dev.server import ZooKeeperServer
from tests.faults.expire import expire
from tests.faults.proxy import Direction, Proxy
from tests.faults.wire import Op, multi_operations
from tests.waiting import eventually


@contextlib.contextmanager
def connected(hosts: str, timeout: float = 10.0) -> Iterator[KazooClient]:
    """A started client; its session timeout is in seconds."""
    retry = KazooRetry(max_tries=-1, delay=0.02, max_delay=0.1)
    client = KazooClient(hosts, timeout=timeout, connection_retry=retry)
    client.start(10)
    try:
        yield client
    finally:
        client.stop()
        client.close()


@pytest.fixture
def direct(server: ZooKeeperServer, nowhere: str) -> Iterator[KazooClient]:
    """A client that sees the truth on the server; it has created the test's chroot."""
    with connected(server.hosts) as client:
        client.create(nowhere)
        client.chroot = nowhere
        yield client


@pytest.fixture
def victim(proxy: Proxy, nowhere: str, direct: KazooClient) -> Iterator[KazooClient]:
    """A client behind the proxy."""
    with connected(proxy.hosts(nowhere)) as client:
        yield client


def test_dropped_reply_leaves_the_write_done(
    proxy: Proxy, victim: KazooClient, direct: KazooClient
) -> None:
    """The client sees a lost connection, the znode exists, and the session lives on."""
    rule = proxy.drop_reply(Op.CREATE)
    with pytest.raises(ConnectionLoss):
        victim.create("/a", b"1")
    proxy.wait_for(rule)
    assert direct.get("/a")[0] == b"1"
    eventually(lambda: victim.connected, what="the client is back")
    assert victim.create("/b") == "/b"


def test_dropped_request_leaves_nothing_done(
    proxy: Proxy, victim: KazooClient, direct: KazooClient
) -> None:
    """The client sees the same as above, and the znode does not exist."""
    rule = proxy.drop_request(Op.CREATE)
    with pytest.raises(ConnectionLoss):
        victim.create("/a")
    proxy.wait_for(rule)
    assert direct.exists("/a") is None


def test_rule_counts_only_what_it_names(
    proxy: Proxy, victim: KazooClient, direct: KazooClient
) -> None:
    """The second request that contains the bytes is hit; other operations and paths are not."""
    proxy.drop_request(Op.CREATE, nth=2, containing=b"/status/")
    victim.create("/status")
    victim.create("/status/1")
    victim.create("/other")
    victim.exists("/status/2")
    with pytest.raises(ConnectionLoss):
        victim.create("/status/2")
    assert direct.get_children("/status") == ["1"]


def test_rule_looks_into_a_multi(proxy: Proxy, victim: KazooClient, direct: KazooClient) -> None:
    """A multi can be chosen by the operations in it; its reply is lost and all of it is done."""
    expected = [(Op.CHECK, "/a"), (Op.CREATE, "/b"), (Op.SET_DATA, "/a"), (Op.DELETE, "/a")]
    chroot = direct.chroot
    rule = proxy.drop_reply(
        Op.MULTI,
        where=lambda request: (
            multi_operations(request) == [(op, chroot + path) for op, path in expected]
        ),
    )
    victim.create("/a")
    other = victim.transaction()
    other.check("/a", 0)
    assert other.commit() == [True]
    chosen = victim.transaction()
    chosen.check("/a", 0)
    chosen.create("/b", b"data")
    chosen.set_data("/a", b"new")
    chosen.delete("/a")
    with pytest.raises(ConnectionLoss):
        chosen.commit()
    assert rule.seen == 1
    assert direct.get_children("/") == ["b"]


def test_error_comes_in_its_turn(proxy: Proxy, victim: KazooClient, direct: KazooClient) -> None:
    """Among pipelined requests one is answered with an error and never reaches the server."""
    proxy.reply_error(Op.CREATE, nth=2, error=NoAuthError.code)
    one, two, three = [victim.create_async(f"/{n}") for n in (1, 2, 3)]
    assert one.get(10) == "/1"
    with pytest.raises(NoAuthError):
        two.get(10)
    assert three.get(10) == "/3"
    assert sorted(direct.get_children("/")) == ["1", "3"]


def test_hold_is_a_black_hole(proxy: Proxy, victim: KazooClient, direct: KazooClient) -> None:
    """Towards the client: the write is done, no reply comes until the release."""
    proxy.hold("to_client")
    reply = victim.create_async("/a")
    eventually(lambda: direct.exists("/a"), what="the server has the write")
    with pytest.raises(KazooTimeoutError):
        reply.get(timeout=0.1)
    proxy.release("to_client")
    assert reply.get(10) == "/a"


def test_hold_both_ways(proxy: Proxy, victim: KazooClient, direct: KazooClient) -> None:
    """Both ways: the write waits, and is done after the release."""
    proxy.hold()
    reply = victim.create_async("/a")
    eventually(lambda: proxy.counts[Op.CREATE] == 1, what="the proxy has the request")
    assert direct.exists("/a") is None
    proxy.release()
    assert reply.get(10) == "/a"


def test_held_request_is_lost_with_its_sender(
    proxy: Proxy, nowhere: str, direct: KazooClient
) -> None:
    """A client that gave up in the black hole does not come back to life from it."""
    with connected(
        proxy.hosts(nowhere), timeout=4.0
    ) as client:  # to stand still for less is no end
        proxy.hold()
        proxy.refuse()
        reply = client.create_async("/a")
        with pytest.raises((ConnectionLoss, SessionExpiredError)):
            reply.get(timeout=30)
        eventually(lambda: proxy.connections == 0, what="the client has hung up")
        proxy.release()
        proxy.accept()
        eventually(lambda: client.connected, what="the client is back")
        assert direct.exists("/a") is None


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_hold_at_a_request(
    proxy: Proxy, victim: KazooClient, direct: KazooClient, direction: Direction
) -> None:
    """Towards the server the request waits at the hole, towards the client its reply does."""
    rule = proxy.hold_at(Op.CREATE, direction, containing=b"/late")
    victim.create("/early")
    created = victim.create_async("/late")
    proxy.wait_for(rule)
    if direction == "to_client":
        eventually(lambda: direct.exists("/late"), what="the request was carried out")
    with pytest.raises(KazooTimeoutError):
        created.get(timeout=0.3)
    assert bool(direct.exists("/late")) is (direction == "to_client")
    proxy.release(direction)
    assert created.get(timeout=10) == "/late"


def test_delay_is_latency(proxy: Proxy, victim: KazooClient) -> None:
    """Each way takes its time, and pipelined requests take it together: one by one it were 60 s."""
    proxy.delay(0.1)
    began = time.monotonic()
    for reply in [victim.exists_async(f"/{n}") for n in range(300)]:
        reply.get(60)
    assert 0.2 <= time.monotonic() - began < 20.0


def test_reset_and_refuse(proxy: Proxy, victim: KazooClient) -> None:
    """A reset client comes back with its session, and only when the proxy accepts."""
    session = victim.client_id
    proxy.refuse()
    assert victim.exists("/") is not None
    proxy.reset()
    eventually(lambda: not victim.connected, what="the client notices")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=1.0)
    proxy.accept()
    eventually(lambda: victim.connected, what="the client is back")
    assert victim.client_id == session


def test_counters_see_every_request(proxy: Proxy, victim: KazooClient) -> None:
    """One multi of a hundred creates is one request, beside the pings of a client that waits."""
    before = proxy.counts
    batch = victim.transaction()
    for n in range(100):
        batch.create(f"/{n}")
    batch.commit()
    counted = proxy.counts - before
    del counted[Op.PING]
    assert counted == {Op.MULTI: 1}


def test_wait_for_shows_what_was_seen(proxy: Proxy, victim: KazooClient) -> None:
    """A rule that never struck says how far it came."""
    rule = proxy.drop_reply(Op.EXISTS, nth=2)
    victim.exists("/")
    with pytest.raises(AssertionError, match=r"DROP_REPLY .* 1 such requests seen"):
        proxy.wait_for(rule, deadline=0.01)


def test_expire_ends_the_session(
    server: ZooKeeperServer, victim: KazooClient, direct: KazooClient
) -> None:
    """The ephemeral znode is gone at once, and its owner learns that its session is lost."""
    states: list[str] = []
    victim.add_listener(states.append)
    victim.create("/ephemeral", ephemeral=True)
    session_id, password = victim.client_id
    expire(server.hosts, session_id, password)
    assert direct.exists("/ephemeral") is None
    eventually(lambda: "LOST" in states, what="the owner knows")
