"""A TCP relay that understands nothing: it passes bytes on, or holds those of one direction.

For connections whose messages the proxy does not know, like those between ZooKeeper's servers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from masterworker.dev.processes import Startable
from masterworker.dev.server import free_ports

CHUNK = 65536  # bytes


class Relay(Startable):
    """Listens on a loopback port of its own, and connects to the target for each connection.

    With `ipv6` it listens on ::1.
    """

    def __init__(self, target_port: int, *, ipv6: bool = False) -> None:
        self._ipv6 = ipv6
        self._target = ("127.0.0.1", target_port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: list[socket.socket] = []
        [self.port] = free_ports(1)

    def start(self) -> None:
        """Begin to listen."""
        host, family = ("::1", socket.AF_INET6) if self._ipv6 else ("127.0.0.1", socket.AF_INET)
        self._listener = socket.create_server((host, self.port), family=family)
        _run(self._accept)

    def stop(self) -> None:
        """Cut everything."""
        self._flowing.set()
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):  # closed by its other side meanwhile
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def hold(self) -> None:
        """Let nothing come back from the target; what is sent to it still arrives."""
        self._flowing.clear()

    def release(self) -> None:
        """Let everything through again, first what was held."""
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()  # the target does not accept: neither do we
                    continue
                self._sockets.append(far)
                _run(self._pass_on, near, far)
                _run(self._pass_back, far, near)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with _until_cut(near, far):
            while data := near.recv(CHUNK):
                far.sendall(data)

    def _pass_back(self, far: socket.socket, near: socket.socket) -> None:
        with _until_cut(near, far):
            while data := far.recv(CHUNK):
                self._flowing.wait()
                near.sendall(data)


@contextlib.contextmanager
def _until_cut(*ends: socket.socket) -> Iterator[None]:
    """When one direction ends, both ends are cut."""
    try:
        yield
    except OSError:
        pass
    finally:
        for end in ends:
            with contextlib.suppress(OSError):  # cut already
                end.shutdown(socket.SHUT_RDWR)


def _run(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, name="relay", daemon=True).start()
