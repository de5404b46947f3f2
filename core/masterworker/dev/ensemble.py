"""Several private ZooKeeper servers that form one ensemble on the loopback interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .processes import Startable
from .server import START_DEADLINE, ZooKeeperServer, free_ports


class Ensemble(Startable):
    """`size` servers, to be killed, paused and restarted one by one through `servers[index]`.

    The parameters are those of ZooKeeperServer. With `data_dir`, each server keeps its files in a
    folder of it, named by the server's id (its index + 1). `ports` are the servers' client ports,
    one for each; without them they are free ones. With `log_dir`, each server logs to a file there,
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
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all servers; their temporary directories go with them."""
        for server in self.servers:
            server.stop()
