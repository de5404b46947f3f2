"""The private ZooKeeper server and the ensemble, as far as tests depend on them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from masterworker.dev.ensemble import Ensemble
from masterworker.dev.server import ZooKeeperServer, ask, free_ports, port_is_free
from masterworker.words.errors import BadConfiguration, Unavailable
from tests.waiting import eventually

PARENT = """
import sys
from pathlib import Path
from masterworker.dev.server import ZooKeeperServer

with ZooKeeperServer(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""

PATIENCE = 20.0  # seconds for an answer of a server that serves

pytestmark = pytest.mark.zookeeper


@contextlib.contextmanager
def connected(hosts: str) -> Iterator[KazooClient]:
    """A started client that keeps trying, also where a starting server never answers it."""
    client = KazooClient(
        hosts, timeout=5.0, connection_retry=KazooRetry(max_tries=-1, max_delay=0.2)
    )
    client.start(10)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def test_data_survives_kill_and_restart() -> None:
    """What was written is there after SIGKILL, on the same port; the directory goes at the end."""
    with ZooKeeperServer() as server, connected(server.hosts) as client:
        client.create("/a", b"1")
        port = server.port
        directory = server.process.log.parent
        server.kill()
        assert not server.process.alive
        eventually(lambda: not client.connected, what="the client has noticed")
        server.restart()
        assert server.port == port
        eventually(lambda: client.connected, what="the client is back")
        assert client.get("/a")[0] == b"1"
    assert not directory.exists()
    assert port_is_free(port)


def test_given_directory_is_kept(tmp_path: Path) -> None:
    """A second server on the same directory finds the first one's data."""
    with ZooKeeperServer(tmp_path) as server, connected(server.hosts) as client:
        client.create("/a")
    with ZooKeeperServer(tmp_path) as server, connected(server.hosts) as client:
        assert client.exists("/a") is not None


def test_short_session_timeouts_are_granted() -> None:
    """The tick time sets the shortest session timeout: two ticks."""
    with ZooKeeperServer(tick_time=0.1) as server:
        eventually(lambda: server.mode == "standalone", what="it says what it is")
        assert "minSessionTimeout=200\n" in ask(server.port, "conf", PATIENCE)


def test_paused_server_is_silent_and_comes_back() -> None:
    """Paused, it answers nothing; resumed, it answers; paused again, it can be stopped."""
    with ZooKeeperServer() as server:
        server.pause()
        assert ask(server.port, "ruok", timeout=0.2) == ""
        server.resume()
        assert ask(server.port, "ruok", PATIENCE) == "imok"
        server.pause()


def test_killed_parent_takes_the_server_along(tmp_path: Path) -> None:
    """SIGKILL of the process that started it ends the server."""
    argv = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert ask(port, "ruok", PATIENCE) == "imok"
        parent.kill()
    eventually(lambda: port_is_free(port), what="the server's port is free")


def test_taken_port_is_named() -> None:
    """A given port that another program has is the operator's to solve."""
    with socket.create_server(("127.0.0.1", *free_ports(1))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadConfiguration, match=f"127.0.0.1:{port}"):
            ZooKeeperServer(port=port).start()


def test_port_lost_while_starting_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process takes the chosen port before ZooKeeper does: another one is tried."""
    with socket.create_server(("127.0.0.1", *free_ports(1))) as taken:
        lost = taken.getsockname()[1]
        choices = iter([[lost], free_ports(1)])
        monkeypatch.setattr("masterworker.dev.server.free_ports", lambda _count: next(choices))
        with ZooKeeperServer() as server:
            assert server.port != lost


def test_failure_shows_the_log(tmp_path: Path) -> None:
    """A server that ends instead of serving says why, in its own words."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version-2").write_text("a file where a directory should be")
    with pytest.raises(Unavailable, match=r"(?s)exited with code \d+; .*version-2"):
        ZooKeeperServer(tmp_path).start()


def test_missing_java_says_how_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without java on PATH or at JAVA_HOME the error names what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BadConfiguration, match=r"java not found .* install"):
        ZooKeeperServer().start()


def test_wrong_zookeeper_home_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ZOOKEEPER_HOME is not silently passed over when nothing is there."""
    monkeypatch.setenv("ZOOKEEPER_HOME", str(tmp_path))
    with pytest.raises(BadConfiguration, match=f"ZOOKEEPER_HOME={tmp_path}"):
        ZooKeeperServer().start()


def leader(ensemble: Ensemble) -> ZooKeeperServer:
    """The server that leads, as soon as one says so."""

    def leading() -> list[ZooKeeperServer]:
        index = ensemble.leader()
        return [] if index is None else [ensemble.servers[index]]

    return eventually(leading, 60.0, what="one of them leads")[0]


def test_ensemble_survives_its_leader() -> None:
    """Three servers elect a leader; killed, it is replaced, and returns as a follower."""
    with Ensemble(3) as ensemble, connected(ensemble.hosts) as client:
        client.create("/a")
        killed = leader(ensemble)
        killed.kill()
        assert leader(ensemble) is not killed
        killed.restart()
        eventually(lambda: killed.mode == "follower", what="it follows")
        eventually(lambda: client.connected, what="the client is back")
        assert client.exists("/a") is not None
