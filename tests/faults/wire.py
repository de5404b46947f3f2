"""The little of ZooKeeper's client protocol that the faults need.

Every message is a frame: four bytes of length, then its bytes. A request begins with its xid and
its operation, a reply with the request's xid, a zxid and an error code. The first frame each way is
the handshake, which has neither.
"""

from __future__ import annotations

import enum
import struct

LENGTH = struct.Struct(">i")
REQUEST_HEADER = struct.Struct(">ii")  # xid, operation
REPLY_HEADER = struct.Struct(">iqi")  # xid, zxid, error code
MULTI_HEADER = struct.Struct(">i?i")  # operation, whether it closes the multi, error code
CONNECT_REQUEST = struct.Struct(">iqiq")  # protocol, last zxid seen, session timeout in ms, session
CONNECT_REPLY = struct.Struct(">iiq")  # protocol, session timeout in ms, session; 0 if it is gone


class Op(enum.IntEnum):
    """The operations, as numbered on the wire."""

    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    CLOSE = -11


def granted(handshake: bytes) -> tuple[int, bytes] | None:
    """Return the session and the password in a server's handshake, None if it granted none."""
    session = CONNECT_REPLY.unpack_from(handshake)[2]
    return (session, _text_at(handshake, CONNECT_REPLY.size)[0]) if session else None


def framed(message: bytes) -> bytes:
    """Return the message with its length before it."""
    return LENGTH.pack(len(message)) + message


def text(value: bytes) -> bytes:
    """Return a string or a buffer as it stands in a message."""
    return LENGTH.pack(len(value)) + value


def multi_operations(request: bytes) -> list[tuple[Op, str]]:
    """Return the operation and the path of every part of a multi (`request` has no length)."""
    parts: list[tuple[Op, str]] = []
    at = REQUEST_HEADER.size
    while True:
        op, done, _ = MULTI_HEADER.unpack_from(request, at)
        if done:
            return parts
        path, at = _text_at(request, at + MULTI_HEADER.size)
        parts.append((Op(op), path.decode()))
        at = _end_of_part(request, Op(op), at)


def _end_of_part(request: bytes, op: Op, at: int) -> int:
    """Return where the part that has `at` behind its path ends."""
    if op in (Op.CREATE, Op.CREATE2):
        _, at = _text_at(request, at)  # the data
        (acls,) = LENGTH.unpack_from(request, at)
        at += LENGTH.size
        for _ in range(acls):
            _, at = _text_at(request, at + 4)  # permissions, scheme
            _, at = _text_at(request, at)  # id
        return at + 4  # flags
    if op is Op.SET_DATA:
        _, at = _text_at(request, at)
    return at + 4  # version


def _text_at(message: bytes, at: int) -> tuple[bytes, int]:
    (length,) = LENGTH.unpack_from(message, at)
    start = at + LENGTH.size
    end = start + max(length, 0)  # -1 stands for none
    return message[start:end], end
