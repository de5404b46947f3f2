"""Fixtures for all tests: one real ZooKeeper server for the run, one chroot of its own per test."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from masterworker.dev.server import ZooKeeperServer
from masterworker.words import paths
from tests.faults.proxy import Proxy

# A run in the background, or under nohup, inherits ignored signals, and so would every `mwctl`.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def server() -> Iterator[ZooKeeperServer]:
    """The run's ZooKeeper server. It is shared: a test that harms a server starts its own."""
    with ZooKeeperServer() as running:
        yield running


@pytest.fixture(scope="module")  # a module can have a server of its own
def eyes(server: ZooKeeperServer) -> Iterator[KazooClient]:
    """A plain kazoo client on the server, without a chroot."""
    kazoo = KazooClient(server.hosts)
    kazoo.start()
    yield kazoo
    kazoo.stop()
    kazoo.close()


@pytest.fixture
def nowhere() -> str:
    """A path that no other test uses, and that does not exist."""
    return f"/test-{secrets.token_hex(6)}"


@pytest.fixture
def chroot(nowhere: str, eyes: KazooClient) -> str:
    """A path that no other test uses, with the empty tree of a cluster."""
    creation = eyes.transaction()
    for folder in ("", *paths.FOLDERS):
        creation.create(nowhere + folder)
    creation.commit()
    return nowhere


@pytest.fixture
def hosts(server: ZooKeeperServer, chroot: str) -> str:
    """The hosts string of the run's server with the test's own chroot."""
    return server.hosts + chroot


@pytest.fixture
def proxy(server: ZooKeeperServer) -> Iterator[Proxy]:
    """A proxy before the run's server; `proxy.hosts(chroot)` leads through it."""
    with Proxy("127.0.0.1", server.port) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the server, so that `-m 'not zookeeper'` leaves them out."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.zookeeper)
