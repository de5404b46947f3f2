"""Several private ZooKeeper servers that form one ensemble on the loopback interface."""

from __future__ import annotations

from pathlib import Path

from ..words.errors import BadConfiguration, Unavailable
from .processes import Startable
from .server import START_DEADLINE, ZooKeeperServer, free_ports


class Ensemble(Startable):
    """`size` servers, to be killed, paused and restarted one by one through `servers[index]`.

    The parameters are those of ZooKeeperServer. With `data_dir`, each server keeps its files in a
    folder of it, named by the server's id (its index + 1).
    """

    def __init__(
        self,
        size: int = 3,
        data_dir: Path | None = None,
        *,
        tick_time: float = 0.5,
        heap: int = 256 * 1024 * 1024,
        keep_history: bool = False,
    ) -> None:
        ports = free_ports(3 * size)
        members = {number + 1: (ports.pop(), ports.pop()) for number in range(size)}
        self.servers = [
            ZooKeeperServer(
                data_dir and data_dir / str(server_id),
                port=ports.pop(),
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
        """The hosts string that names every server, without a chroot."""
        return ",".join(server.hosts for server in self.servers)

    def leader(self) -> int | None:
        """Return the index of the server that leads now, None while none does.

        A paused server costs the second that its answer is waited for.
        """
        for index, server in enumerate(self.servers):
            if server.mode == "leader":
                return index
        return None

    def start(self, deadline: float = START_DEADLINE) -> None:
        """Start all servers and return when every one of them serves.

        Raises BadConfiguration and Unavailable as ZooKeeperServer.start does; none runs then.
        """
        try:
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_until_serving(deadline)
        except (BadConfiguration, Unavailable):
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all servers; their temporary directories go with them."""
        for server in self.servers:
            server.stop()
