"""The committed history of ZooKeeper, merged from the transaction logs of all servers.

A server logs every proposal before it acknowledges it, so a committed transaction is in the logs of
a majority. Its number, the zxid, is assigned once, by one leader (the upper half is the leader's
epoch, the lower half counts from 1), so servers that both have a zxid have the same transaction;
this is checked. The union of the logs in the order of the zxids is therefore the history, with two
exceptions:

- A transaction that only one server logged, at the end of a leader's epoch, was not acknowledged by
  a majority. No client was told of it, and the server drops it when it rejoins the others. It is
  left out and counted. (If that server had led the next epoch, it would have passed the transaction
  on, and the others would have logged it too.)
- Transactions that failed are logged as errors. They count for the completeness of the numbers but
  are not part of the history.

A gap in the numbers means that logs are missing, and raises Unjudgeable.

The file format is that of ZooKeeper 3.8: org.apache.zookeeper.server.persistence.FileTxnLog, and
zookeeper.jute for the records. Each file starts with a header, followed by entries of a checksum, a
length, a body and an end mark, and zeros up to the allocated size. The body can have a digest of
the tree after the transaction, which is ignored.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple


class Unjudgeable(Exception):
    """The evidence is incomplete or contradicts itself."""


class Create(NamedTuple):
    """A znode was created."""

    path: str
    data: bytes
    ephemeral: bool = False


class Delete(NamedTuple):
    """A znode was deleted."""

    path: str


class Set(NamedTuple):
    """A znode's data was replaced; `version` is the new version."""

    path: str
    data: bytes
    version: int


class Check(NamedTuple):
    """A znode was required to exist; `version` is the version it had."""

    path: str
    version: int


Operation = Create | Delete | Set | Check


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction.

    `at` is the leader's clock, in seconds since the epoch. `session` is the author. `event` says
    that the session was `opened` or `closed` (the operations then delete its ephemeral znodes).
    """

    zxid: int
    at: float
    session: int
    operations: tuple[Operation, ...]
    event: str = ""


MAGIC: Final = b"ZKLG"
_FILE_HEADER: Final = struct.Struct("!4siq")  # magic, version, database id
_ENTRY: Final = struct.Struct("!qi")  # Adler-32 checksum, length of the body
_ZXID_OFFSET: Final = 12  # in a body: behind the session and the client's request number
_HEADER: Final = struct.Struct("!qiqqi")  # session, request number, zxid, milliseconds, type
_INT: Final = struct.Struct("!i")
_LONG: Final = struct.Struct("!q")

_CREATE, _DELETE, _SET, _SET_ACL, _CHECK, _MULTI, _CREATE2 = 1, 2, 5, 7, 13, 14, 15
_ERROR, _OPENED, _CLOSED = -1, -10, -11


def _number(zxid: int) -> tuple[int, int]:
    """A zxid's two halves: the leader's epoch, and the count within it."""
    return zxid >> 32, zxid & 0xFFFFFFFF


# --- the files -------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """The position of one transaction's body."""

    log: mmap.mmap
    start: int
    length: int
    checksum: int

    def body(self) -> bytes:
        return self.log[self.start : self.start + self.length]


def _entries(file: Path) -> Iterator[tuple[int, _Entry]]:
    """The entries of one log file with their zxids, up to where a dying server stopped writing."""
    if file.stat().st_size < _FILE_HEADER.size:
        return
    with file.open("rb") as stream:
        log = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if log[:4] != MAGIC:
        raise Unjudgeable(f"{file} is no transaction log: it begins with {log[:4]!r}")
    at = _FILE_HEADER.size
    while at + _ENTRY.size <= len(log):
        checksum, length = _ENTRY.unpack_from(log, at)
        start = at + _ENTRY.size
        at = start + length + 1  # the end mark
        if length <= 0 or at > len(log):
            return
        entry = _Entry(log, start, length, checksum)
        if zlib.adler32(entry.body()) != checksum:
            return
        yield _LONG.unpack_from(log, start + _ZXID_OFFSET)[0], entry


class History:
    """The committed transactions in order; it can be iterated several times.

    `left_out` are the zxids that only one server has at the end of a leader's epoch.
    """

    def __init__(
        self, entries: dict[int, _Entry], left_out: Sequence[int], chroot: str = ""
    ) -> None:
        self.zxids = sorted(entries)
        self.left_out = list(left_out)
        self._entries = entries
        self._chroot = chroot

    def __iter__(self) -> Iterator[Transaction]:
        for zxid in self.zxids:
            transaction = _transaction(self._entries[zxid].body())
            if transaction is not None:
                yield _below(self._chroot, transaction) if self._chroot else transaction


def _below(chroot: str, transaction: Transaction) -> Transaction:
    """A transaction as seen by a client whose tree starts at `chroot`."""
    ours = tuple(
        operation._replace(path=operation.path.removeprefix(chroot))
        for operation in transaction.operations
        if operation.path.startswith(f"{chroot}/")
    )
    return replace(transaction, operations=ours)


def read(servers: Sequence[Path], chroot: str = "") -> History:
    """Merge the logs of servers, each given by a directory above its log files.

    The servers may be running. With a `chroot`, only what is below it is returned, with paths that
    start there. Raises Unjudgeable.
    """
    merged: dict[int, _Entry] = {}
    last: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(servers))
    for index, server in enumerate(servers):
        files = sorted({file.resolve() for file in server.rglob("version-2/log.*")})
        if not files:
            raise Unjudgeable(f"there is no transaction log below {server}")
        for file in files:
            for zxid, entry in _entries(file):
                known = merged.setdefault(zxid, entry)
                if not _agree(known, entry):
                    raise Unjudgeable(f"{file} has another transaction {zxid:#x} than its peers")
                epoch, count = _number(zxid)
                last[epoch][index] = max(last[epoch][index], count)
    left_out = _lone_tails(merged, last) if len(servers) > 1 else []
    for zxid in left_out:
        del merged[zxid]
    _require_complete(sorted(merged))
    return History(merged, left_out, chroot)


def _agree(one: _Entry, other: _Entry) -> bool:
    """Whether two servers have the same transaction.

    The bytes of a multi that failed may differ: while one thread of a server writes it to the log,
    another applies it, and turns its parts into errors.
    """
    if (one.checksum, one.length) == (other.checksum, other.length):
        return True
    return _transaction(one.body()) == _transaction(other.body())


def _lone_tails(merged: dict[int, _Entry], last: dict[int, list[int]]) -> list[int]:
    """The zxids beyond those that a second server has of the same leader's epoch."""
    second = {epoch: sorted(counts)[-2] for epoch, counts in last.items()}
    return sorted(zxid for zxid in merged if _number(zxid)[1] > second[_number(zxid)[0]])


def _require_complete(zxids: list[int]) -> None:
    before = (-1, 0)
    for zxid in zxids:
        epoch, count = _number(zxid)
        expected = before[1] + 1 if epoch == before[0] else 1
        if count != expected:
            raise Unjudgeable(
                f"the logs go from {before[0]:#x}/{before[1]:#x} to {epoch:#x}/{count:#x}: "
                "transactions between them are missing (were logs purged?)"
            )
        before = (epoch, count)


# --- the records -----------------------------------------------------------------------------


def _transaction(body: bytes) -> Transaction | None:
    """The transaction in an entry; None if it failed."""
    session, _, zxid, milliseconds, kind = _HEADER.unpack_from(body)
    at, start = milliseconds / 1000, _HEADER.size
    if kind == _OPENED:
        return Transaction(zxid, at, session, (), "opened")
    if kind == _CLOSED:
        gone = tuple(Delete(path) for path in _texts(body, start))
        return Transaction(zxid, at, session, gone, "closed")
    operations = _multi(body, start) if kind == _MULTI else _single(body, start, kind)
    return None if operations is None else Transaction(zxid, at, session, operations)


def _multi(body: bytes, at: int) -> tuple[Operation, ...] | None:
    """The parts of a multi; if one of them is an error, none was carried out."""
    (count,) = _INT.unpack_from(body, at)
    at += 4
    operations: list[Operation] = []
    for _ in range(count):
        (kind,) = _INT.unpack_from(body, at)
        (length,) = _INT.unpack_from(body, at + 4)
        part = _single(body, at + 8, kind)
        if part is None:
            return None
        operations += part
        at += 8 + length
    return tuple(operations)


def _single(body: bytes, at: int, kind: int) -> tuple[Operation, ...] | None:
    if kind == _ERROR:
        return None
    if kind == _SET_ACL:
        return ()
    parse = _PARSERS.get(kind)
    if parse is None:
        raise Unjudgeable(f"a transaction of type {kind}, which the judge does not know")
    return (parse(body, at),)


def _create(body: bytes, at: int) -> Create:
    path, at = _text(body, at)
    data, at = _buffer(body, at)
    (entries,) = _INT.unpack_from(body, at)
    at += 4
    for _ in range(entries):
        at += 4  # permissions
        for _ in ("scheme", "id"):
            at += 4 + _INT.unpack_from(body, at)[0]
    return Create(path, data, body[at] != 0)


def _delete(body: bytes, at: int) -> Delete:
    return Delete(_text(body, at)[0])


def _set(body: bytes, at: int) -> Set:
    path, at = _text(body, at)
    data, at = _buffer(body, at)
    return Set(path, data, _INT.unpack_from(body, at)[0])


def _check(body: bytes, at: int) -> Check:
    path, at = _text(body, at)
    (version,) = _INT.unpack_from(body, at)
    return Check(path, version - 1)  # the leader logs the version after the one it found


_PARSERS: Final[dict[int, Callable[[bytes, int], Operation]]] = {
    _CREATE: _create,
    _CREATE2: _create,
    _DELETE: _delete,
    _SET: _set,
    _CHECK: _check,
}


def _texts(body: bytes, at: int) -> Iterator[str]:
    (count,) = _INT.unpack_from(body, at)
    at += 4
    for _ in range(count):
        text, at = _text(body, at)
        yield text


def _text(body: bytes, at: int) -> tuple[str, int]:
    data, at = _buffer(body, at)
    return data.decode(), at


def _buffer(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _INT.unpack_from(body, at)
    end = at + 4 + max(length, 0)  # -1 stands for none
    return body[at + 4 : end], end
