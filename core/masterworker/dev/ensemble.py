"""A private ZooKeeper ensemble on the loopback interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .processes import Startable
from .server import START_DEADLINE, ZooKeeperServer, free_ports


class Ensemble(Startable):
    """An ensemble of `size` servers. Each can be killed, paused and restarted via `servers[index]`.

    The parameters are as for ZooKeeperServer. With `data_dir`, each server keeps its files in a
    subfolder named after its id (its index + 1). `ports` are the client ports of the servers; by
    default, they are any free ports. With `log_dir`, each server logs to a file there,
    `zookeeper-1.log` and so on.
    """

    def __init__(
        self,
        size: int = 3,
        data_dir: Path | None = None,
        *,
        ports: Sequence[int] = (),
        log_dir: Path | None = None,
        tick_time: float = 0.5,
        heap: int = 256 * 1024 * 1024,
        keep_history: bool = False,
    ) -> None:
        free = [port for port in free_ports(4 * size) if port not in ports]
        members = {number + 1: (free.pop(), free.pop()) for number in range(size)}
        clients = ports or free
        self.servers = [
            ZooKeeperServer(
                data_dir and data_dir / str(server_id),
                port=clients[server_id - 1],
                log=log_dir and log_dir / f"zookeeper-{server_id}.log",
                tick_time=tick_time,
                heap=heap,
                keep_history=keep_history,
                server_id=server_id,
                members=members,
            )
            for server_id in members
        ]

    @property
    def hosts(self) -> str:
        """The hosts string with all servers, without a chroot."""
        return ",".join(server.hosts for server in self.servers)

    def leader(self) -> int | None:
        """Return the index of the current leader, or None if there is none.

        For each paused server, this waits for a second.
        """
        for index, server in enumerate(self.servers):
            if server.mode == "leader":
                return index
        return None

    def start(self, deadline: float = START_DEADLINE) -> None:
        """Start all servers and return when all of them serve clients.

        On failure, stops all servers and raises the same errors as ZooKeeperServer.start.
        """
        try:
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_until_serving(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all servers and remove their temporary directories."""
        for server in self.servers:
            server.stop()
