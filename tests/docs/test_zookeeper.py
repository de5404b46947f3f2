"""The page on installing ZooKeeper: its configuration is one that ZooKeeper takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from masterworker.dev.processes import Process
from masterworker.dev.server import ask, free_ports, java_command
from tests.docs import pages
from tests.waiting import eventually

pytestmark = pytest.mark.zookeeper

PAGE = pages.text(pages.DOCS / "zookeeper.md")


def test_the_configuration_starts_an_ensemble(tmp_path: Path) -> None:
    """Three servers with the `zoo.cfg` of the page elect a leader and answer the commands that it
    allows. Only ports and folders differ."""
    found = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    ports = free_ports(9)
    configuration = re.sub(
        r"zk(\d):2888:3888",
        lambda match: "127.0.0.1:{}:{}".format(*ports[2 * int(match[1]) + 1 :][:2]),
        found[1],
    )
    servers = [_server(tmp_path / str(n), n, ports[n - 1], configuration) for n in (1, 2, 3)]
    try:
        for server in servers:
            server.start()
        eventually(lambda: sorted(map(_mode, ports[:3]))[:2] == ["follower"] * 2, what="they serve")
        assert sorted(map(_mode, ports[:3])) == ["follower", "follower", "leader"]
        assert "zk_quorum_size\t3\n" in ask(ports[0], "mntr")
        assert ask(ports[0], "ruok") == "imok"
        assert "not in the whitelist" in ask(ports[0], "conf")
    finally:
        for server in servers:
            server.stop()


def _server(folder: Path, number: int, port: int, configuration: str) -> Process:
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "myid").write_text(f"{number}\n")
    text = configuration.replace("/var/lib/zookeeper", str(data)).replace("2181", str(port))
    (folder / "zoo.cfg").write_text(text)
    command = [*java_command(), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(folder / "zoo.cfg")]
    return Process(f"server {number}", command, log=folder / "log")


def _mode(port: int) -> str:
    """The server's role; empty while it has none."""
    found = re.search(r"Mode: (\w+)", ask(port, "srvr"))
    return found[1] if found else "~"
