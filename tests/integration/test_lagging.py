"""A follower that lags serves an older state, and no role may act on that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from masterworker.dev.server import ZooKeeperServer, free_ports
from masterworker.words import paths
from masterworker.zookeeper.session import Session
from tests.faults.proxy import Proxy
from tests.faults.relay import Relay
from tests.faults.wire import Op
from tests.integration.roles import Cluster
from tests.integration.running import session
from tests.waiting import eventually

HEAP = 256 * 1024 * 1024  # bytes
TICK = 1.0
"""Seconds; ten of them, ZooKeeper's syncLimit here, are how long a follower may lag unnoticed."""

AWAKE = 30.0
"""Seconds; the session of every role, which nothing may end, however busy the machine is."""

pytestmark = pytest.mark.zookeeper


class Lagging:
    """Three servers; the first reaches the others' quorum ports, and so its leader, by relays.

    It never leads, since of servers that know the same the one with the highest number does.
    """

    def __init__(self) -> None:
        ports = free_ports(6)
        members = {number: (ports.pop(), ports.pop()) for number in (1, 2, 3)}
        self.relays = {number: Relay(members[number][0]) for number in (2, 3)}
        relayed = {
            number: (self.relays[number].port, election)
            if number in self.relays
            else (own, election)
            for number, (own, election) in members.items()
        }
        views = {1: relayed, 2: members, 3: members}
        self.servers = [
            ZooKeeperServer(server_id=number, members=view, heap=HEAP, tick_time=TICK)
            for number, view in views.items()
        ]
        self._opened = ExitStack()

    def __enter__(self) -> Lagging:
        for each in (*self.relays.values(), *self.servers):
            self._opened.callback(each.stop)
        for relay in self.relays.values():
            relay.start()
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_until_serving()
        eventually(lambda: self.servers[0].mode == "follower", what="the first one follows")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._opened.close()

    def hold(self) -> None:
        """Let the first server hear nothing of the others; what it sends still arrives."""
        for relay in self.relays.values():
            relay.hold()

    def release(self) -> None:
        """Let it catch up."""
        for relay in self.relays.values():
            relay.release()


@pytest.fixture
def ensemble() -> Iterator[Lagging]:
    """An ensemble of its own for each test."""
    with Lagging() as running:
        yield running


def there(watcher: Session, path: str) -> bool:
    """Whether this znode exists, as far as the session's server knows."""
    return watcher.read([path]) != [None]


def test_primary_that_reads_what_was_true_before(
    ensemble: Lagging, nowhere: str, tmp_path: Path
) -> None:
    """Scenario 23: its follower shows a worker that has left, and a task; the `multi` is refused.

    The primary sleeps while the worker leaves, so that it learns all it knows from the follower.
    """
    stale, *current = ensemble.servers
    with (
        Cluster(current[0].hosts + nowhere, tmp_path) as cluster,
        Proxy("127.0.0.1", stale.port) as proxy,
        session(stale.hosts + nowhere) as watcher,
    ):
        master = cluster.master(hosts=proxy.hosts(nowhere), timeout=AWAKE)
        cluster.in_office(master)
        leaver = cluster.worker("wait", timeout=AWAKE)
        gone = cluster.ready(leaver)
        master.pause()
        future = cluster.client.submit(b"go", executor="wait")
        cluster.release("go")
        waiting = paths.task(future.task_id)
        eventually(lambda: there(watcher, waiting), what="the follower knows of the task")
        ensemble.hold()
        leaver.terminate()
        assert leaver.wait(20.0) == 0
        assert gone not in cluster.status().workers
        assert there(watcher, paths.worker(gone)), "the follower does not lag"
        before = proxy.counts[Op.MULTI]
        master.resume()
        eventually(lambda: proxy.counts[Op.MULTI] > before, what="it assigns the task")
        assert there(watcher, paths.worker(gone)), "the follower lags no more"
        ensemble.release()
        cluster.says(master, f"worker {gone} left before it got task {future.task_id}")
        assert cluster.executions() == []
        heir = cluster.ready(cluster.worker("wait", timeout=AWAKE))
        assert future.result(timeout=20.0) == heir.encode()
        assert [run.worker for run in cluster.executions()] == [heir]
        cluster.judge(accepted=1)
