"""Requests as data: the operations of a `multi`, and the requests that kazoo lacks.

kazoo's client sends any object that has `type`, `serialize` and `deserialize`. `Multi` (operation
14) is like kazoo's own Transaction, but with plain operations and an exact answer: which operation
failed, and why. `MultiRead` and `MultiList` (operation 22, ZooKeeper 3.6 and later) read and list
many znodes in one round trip. They follow org.apache.zookeeper.MultiOperationRecord and
MultiResponse of ZooKeeper's Java client. `WhoAmI` (operation 107, ZooKeeper 3.7 and later) asks for
the identities that the server has given the session.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple


class Create(NamedTuple):
    """Create a znode. `owners` are the identities it belongs to, in a tree with ACLs."""

    path: str
    data: bytes = b""
    ephemeral: bool = False
    owners: tuple[str, ...] = ()


class Delete(NamedTuple):
    """Delete a znode if it has this version; -1 stands for any version."""

    path: str
    version: int = -1


class Set(NamedTuple):
    """Replace a znode's data if it has this version; -1 stands for any version."""

    path: str
    data: bytes
    version: int = -1


class Check(NamedTuple):
    """Require that a znode exists with this version; -1 stands for any version."""

    path: str
    version: int = -1


Operation = Create | Delete | Set | Check


class Code(IntEnum):
    """The ZooKeeper error codes that are handled here (KeeperException.Code)."""

    ROLLED_BACK = 0
    RUNTIME_INCONSISTENCY = -2
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    INVALID_ACL = -114
    SESSION_EXPIRED = -112
    SESSION_MOVED = -118


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a `multi` was refused: its `index`-th operation failed with `code`."""

    index: int
    code: int

    def __str__(self) -> str:
        try:
            return Code(self.code).name
        except ValueError:
            return f"error {self.code}"


class Znode(NamedTuple):
    """A znode as it was read.

    `created`, `changed` and `children_changed` are transaction ids; `owner` is the session that
    owns an ephemeral znode, else 0; `modified` is when the data was last written, in seconds since
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
    """A znode that exists but may not be read; `code` is ZooKeeper's error."""

    code: int

    def __str__(self) -> str:
        return f"it cannot be read (error {self.code}): check its ACL"


Found = Znode | Unreadable | None
"""The result of reading one path; None if there is no such znode."""

Names = list[str] | Unreadable | None
"""The result of listing the children of one path; None if there is no such znode."""


_INT = struct.Struct("!i")
_HEADER = struct.Struct("!i?i")
_STAT_AND_HEADER = struct.Struct("!qqqqiiiqiiqi?i")
_CREATE, _DELETE, _SET, _GET, _LIST, _CHECK, _ERROR = 1, 2, 5, 4, 8, 13, -1
_END: Final = _HEADER.pack(-1, True, -1)
_NO_ERROR: Final = (Code.ROLLED_BACK, Code.RUNTIME_INCONSISTENCY)


def pack_acl(entries: Mapping[str, int]) -> bytes:
    """Serialize an ACL: the permissions of each identity `scheme:id`."""
    parts = [_INT.pack(len(entries))]
    for identity, permissions in entries.items():
        scheme, _, name = identity.encode().partition(b":")
        parts += (_INT.pack(permissions), _INT.pack(len(scheme)), scheme)
        parts += (_INT.pack(len(name)), name)
    return b"".join(parts)


OPEN_ACL: Final = pack_acl({"world:anyone": 31})
"""The ACL that allows everyone everything."""


def size(operation: Operation) -> int:
    """The approximate number of bytes that an operation adds to a request."""
    data = getattr(operation, "data", b"")
    return len(operation.path) + len(data) + 64


class Multi:
    """A `multi`: all operations are carried out, or none is.

    The answer is a list, empty or with the Refusal of the first operation that failed. It must be a
    list because kazoo searches the answers to operation 14 for paths.
    """

    type: ClassVar[int] = 14

    def __init__(
        self,
        operations: Sequence[Operation],
        chroot: str,
        acl_of: Callable[[Create], bytes] | None = None,
    ) -> None:
        """`acl_of` returns the serialized ACL of a znode to create; None makes all of them open.

        Raises TypeError for an unknown operation. The request is serialized here and not in
        serialize(), which runs on kazoo's thread: an exception there would end that thread.
        """
        self._count = len(operations)
        self._wire = _written(operations, chroot, acl_of)

    def serialize(self) -> bytes:
        return self._wire

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
        return f"Multi({self._count} operations)"


def _written(
    operations: Sequence[Operation], chroot: str, acl_of: Callable[[Create], bytes] | None
) -> bytes:
    """Serialize the operations of a `multi`."""
    parts: list[bytes] = []
    for operation in operations:
        path = (chroot + operation.path).encode()
        length = _INT.pack(len(path))
        if type(operation) is Create:
            data = operation.data
            flags = _INT.pack(1 if operation.ephemeral else 0)
            acl = acl_of(operation) if acl_of else OPEN_ACL
            header = _HEADER.pack(_CREATE, False, -1)
            parts += (header, length, path, _INT.pack(len(data)), data, acl, flags)
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
        else:
            raise TypeError(f"a multi cannot carry {type(operation).__name__} at {path!r:.300}")
    parts.append(_END)
    return b"".join(parts)


class MultiRead:
    """Read many znodes in one request, all as of the same moment on the server asked."""

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
        offset += _HEADER.size
        while not done:
            (number,) = _INT.unpack_from(reply, offset)  # an error's code, or the data's length
            offset += _INT.size
            if kind == _ERROR:
                found.append(None if number == Code.NO_NODE else Unreadable(number))
                kind, done, _ = _HEADER.unpack_from(reply, offset)
                offset += _HEADER.size
                continue
            end = offset + max(number, 0)
            (
                created, changed, _, modified, version, _, _, owner, _, children, children_changed,
                kind, done, _,
            ) = _STAT_AND_HEADER.unpack_from(reply, end)  # fmt: skip
            found.append(
                Znode(
                    reply[offset:end], version, created, changed, owner, children,
                    children_changed, modified / 1000,
                )
            )  # fmt: skip
            offset = end + _STAT_AND_HEADER.size
        return found

    def __repr__(self) -> str:
        return f"MultiRead({len(self._paths)} paths)"


class MultiList:
    """List the children of several znodes in one request, all as of the same moment.

    The answer has each znode's list of names, or None if it does not exist. This is operation 22
    like MultiRead. The length of the answer is not limited, so use it only for folders of known
    size.
    """

    type: ClassVar[int] = 22

    def __init__(self, paths: Sequence[str], chroot: str) -> None:
        header = _HEADER.pack(_LIST, False, -1)
        names = [(chroot + path).encode() for path in paths]
        parts = [b"".join((header, _INT.pack(len(name)), name, b"\0")) for name in names]
        self._count = len(names)
        self._wire = b"".join((*parts, _END))

    def serialize(self) -> bytes:
        return self._wire

    def deserialize(self, reply: bytes, offset: int) -> list[Names]:
        found: list[Names] = []
        kind, done, _ = _HEADER.unpack_from(reply, offset)
        offset += _HEADER.size
        while not done:
            (number,) = _INT.unpack_from(reply, offset)  # an error's code, or the count of names
            offset += _INT.size
            if kind == _ERROR:
                found.append(None if number == Code.NO_NODE else Unreadable(number))
            else:
                names: list[str] = []
                for _ in range(number):
                    (length,) = _INT.unpack_from(reply, offset)
                    offset += _INT.size
                    names.append(bytes(reply[offset : offset + length]).decode(errors="replace"))
                    offset += length
                found.append(names)
            kind, done, _ = _HEADER.unpack_from(reply, offset)
            offset += _HEADER.size
        return found

    def __repr__(self) -> str:
        return f"MultiList({self._count} paths)"


class WhoAmI:
    """Ask for the identities of this session, except its address.

    The answer is a list of (scheme, name) pairs; a digest's name comes without its hash.
    """

    type: ClassVar[int] = 107

    def serialize(self) -> bytes:
        return b""

    def deserialize(self, reply: bytes, offset: int) -> list[tuple[str, str]]:
        (count,) = _INT.unpack_from(reply, offset)
        offset += _INT.size
        texts: list[str] = []
        for _ in range(2 * count):
            (length,) = _INT.unpack_from(reply, offset)
            offset += _INT.size
            texts.append(bytes(reply[offset : offset + length]).decode())
            offset += length
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return [(scheme, name) for scheme, name in pairs if scheme != "ip"]

    def __repr__(self) -> str:
        return "WhoAmI()"
