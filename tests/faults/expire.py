"""A real expiry: the server itself ends a session that its owner still believes in."""

from __future__ import annotations

import socket
import time

from tests.faults.wire import (
    CONNECT_REPLY,
    CONNECT_REQUEST,
    LENGTH,
    REQUEST_HEADER,
    Op,
    framed,
    text,
)


def expire(hosts: str, session_id: int, password: bytes, deadline: float = 10.0) -> None:
    """End the session on the server, and return once its ephemeral znodes are gone.

    A second client takes the session over by its id and password (kazoo: `client.client_id`) and
    closes it. The owner finds out when it connects again. Raises TimeoutError after `deadline`
    seconds.
    """
    host, port = hosts.partition("/")[0].partition(",")[0].rsplit(":", 1)
    connect = CONNECT_REQUEST.pack(0, 0, 10_000, session_id) + text(password) + b"\0"
    close = REQUEST_HEADER.pack(1, Op.CLOSE)
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        with socket.create_connection((host, int(port)), timeout=deadline) as connection:
            # Both at once: the owner, thrown out by the first, may be back before a second message.
            connection.sendall(framed(connect) + framed(close))
            handshake, closed = _frame(connection), _frame(connection)
        if closed or (handshake and CONNECT_REPLY.unpack_from(handshake)[2] == 0):
            return
    raise TimeoutError(f"session {session_id:#x} was still alive after {deadline:g} s")


def _frame(connection: socket.socket) -> bytes:
    """Return the next frame, or nothing if the server hung up."""
    with connection.makefile("rb", buffering=0) as stream:
        try:
            header = stream.read(LENGTH.size)
            return stream.read(LENGTH.unpack(header)[0]) if header else b""
        except ConnectionError:
            return b""
