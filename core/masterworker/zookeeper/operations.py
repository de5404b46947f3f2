"""Requests as data: the operations of a `multi`, and the two requests kazoo lacks, on the wire.

kazoo's client sends any object that has `type`, `serialize` and `deserialize`. `Multi` (operation
14) is kazoo's own Transaction with plain operations and an exact answer: which operation failed,
and why. `MultiRead` (operation 22, ZooKeeper 3.6 and later) reads many znodes in one round trip.
Both follow org.apache.zookeeper.MultiOperationRecord and MultiResponse of ZooKeeper's Java client.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple


class Create(NamedTuple):
    """Create a znode."""

    path: str
    data: bytes = b""
    ephemeral: bool = False


class Delete(NamedTuple):
    """Delete a znode, of this version unless it is -1."""

    path: str
    version: int = -1


class Set(NamedTuple):
    """Replace a znode's data, of this version unless it is -1."""

    path: str
    data: bytes
    version: int = -1


class Check(NamedTuple):
    """Require that a znode exists, with this version unless it is -1."""

    path: str
    version: int = -1


Operation = Create | Delete | Set | Check


class Code(IntEnum):
    """The error codes of ZooKeeper that mean something to us (KeeperException.Code)."""

    ROLLED_BACK = 0
    RUNTIME_INCONSISTENCY = -2
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    SESSION_MOVED = -118


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a `multi` was refused as a whole: its `index`-th operation failed with `code`."""

    index: int
    code: int

    def __str__(self) -> str:
        try:
            return Code(self.code).name
        except ValueError:
            return f"error {self.code}"


class Znode(NamedTuple):
    """A znode as it was found.

    `created`, `changed` and `children_changed` are transaction ids; `owner` is the session that an
    ephemeral znode hangs on, else 0; `modified` is when the data was last written, in seconds since
    the epoch by ZooKeeper's clock.
    """

    data: bytes
    version: int
    created: int
    changed: int
    owner: int
    children: int
    children_changed: int
    modified: float = 0.0


class Unreadable(NamedTuple):
    """A znode that is there and that we may not read; `code` says why."""

    code: int

    def __str__(self) -> str:
        return f"it cannot be read (error {self.code}): check its ACL"


Found = Znode | Unreadable | None
"""What a read of one path came to; None if there is no such znode."""


_INT = struct.Struct("!i")
_HEADER = struct.Struct("!i?i")
_STAT = struct.Struct("!qqqqiiiqiiq")
_CREATE, _DELETE, _SET, _GET, _CHECK, _ERROR = 1, 2, 5, 4, 13, -1
_END: Final = _HEADER.pack(-1, True, -1)
_NO_ERROR: Final = (Code.ROLLED_BACK, Code.RUNTIME_INCONSISTENCY)

OPEN_ACL: Final = (
    _INT.pack(1)
    + _INT.pack(31)
    + b"".join(_INT.pack(len(part)) + part for part in (b"world", b"anyone"))
)
"""The access list that lets everybody do everything, as it stands on the wire."""


def size(operation: Operation) -> int:
    """About how many bytes an operation adds to a request."""
    data = getattr(operation, "data", b"")
    return len(operation.path) + len(data) + 64


class Multi:
    """A `multi`: all operations are carried out, or none is.

    The answer is a list with the Refusal that names the first operation to fail, or with nothing:
    kazoo goes through the answers to operation 14 in search of paths, so it has to be a list.
    """

    type: ClassVar[int] = 14

    def __init__(self, operations: Sequence[Operation], chroot: str, acl: bytes = OPEN_ACL) -> None:
        self._operations = operations
        self._chroot = chroot
        self._acl = acl

    def serialize(self) -> bytes:
        parts: list[bytes] = []
        for operation in self._operations:
            path = (self._chroot + operation.path).encode()
            length = _INT.pack(len(path))
            if type(operation) is Create:
                data = operation.data
                flags = _INT.pack(1 if operation.ephemeral else 0)
                header = _HEADER.pack(_CREATE, False, -1)
                parts += (header, length, path, _INT.pack(len(data)), data, self._acl, flags)
            elif type(operation) is Delete:
                header = _HEADER.pack(_DELETE, False, -1)
                parts += (header, length, path, _INT.pack(operation.version))
            elif type(operation) is Set:
                data = operation.data
                header = _HEADER.pack(_SET, False, -1)
                version = _INT.pack(operation.version)
                parts += (header, length, path, _INT.pack(len(data)), data, version)
            elif type(operation) is Check:
                header = _HEADER.pack(_CHECK, False, -1)
                parts += (header, length, path, _INT.pack(operation.version))
        parts.append(_END)
        return b"".join(parts)

    def deserialize(self, reply: bytes, offset: int) -> list[Refusal]:
        """Only a refused multi has error entries, one for each operation."""
        index = 0
        kind, done, _ = _HEADER.unpack_from(reply, offset)
        while not done and kind == _ERROR:
            offset += _HEADER.size
            (code,) = _INT.unpack_from(reply, offset)
            if code not in _NO_ERROR:
                return [Refusal(index, code)]
            offset += _INT.size
            index += 1
            kind, done, _ = _HEADER.unpack_from(reply, offset)
        return [Refusal(0, Code.RUNTIME_INCONSISTENCY)] if index else []

    def __repr__(self) -> str:
        return f"Multi({len(self._operations)} operations)"


class MultiRead:
    """The data of many znodes in one request, all as of the same moment on the server asked."""

    type: ClassVar[int] = 22

    def __init__(self, paths: Sequence[str], chroot: str) -> None:
        self._paths = paths
        self._chroot = chroot

    def serialize(self) -> bytes:
        header = _HEADER.pack(_GET, False, -1)
        parts: list[bytes] = []
        for path in self._paths:
            name = (self._chroot + path).encode()
            parts += (header, _INT.pack(len(name)), name, b"\0")
        parts.append(_END)
        return b"".join(parts)

    def deserialize(self, reply: bytes, offset: int) -> list[Found]:
        found: list[Found] = []
        kind, done, _ = _HEADER.unpack_from(reply, offset)
        while not done:
            offset += _HEADER.size
            if kind == _ERROR:
                (code,) = _INT.unpack_from(reply, offset)
                found.append(None if code == Code.NO_NODE else Unreadable(code))
                offset += _INT.size
            else:
                (length,) = _INT.unpack_from(reply, offset)
                offset += _INT.size
                data = bytes(reply[offset : offset + max(length, 0)])
                offset += max(length, 0)
                found.append(_znode(data, _STAT.unpack_from(reply, offset)))
                offset += _STAT.size
            kind, done, _ = _HEADER.unpack_from(reply, offset)
        return found

    def __repr__(self) -> str:
        return f"MultiRead({len(self._paths)} paths)"


def _znode(data: bytes, stat: tuple[int, ...]) -> Znode:
    czxid, mzxid, _, mtime, version, _, _, owner, _, children, pzxid = stat
    return Znode(data, version, czxid, mzxid, owner, children, pzxid, mtime / 1000)
