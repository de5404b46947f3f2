"""Sets and checks the ACLs of a tree, for `mwctl acl`.

Both walk the whole tree below the chroot and compare each znode's ACL with the expected one. The
cluster may be running meanwhile: a znode that disappears needs no ACL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from kazoo.protocol.serialization import GetACL, SetACL
from kazoo.security import ACL, Id

from ..words import access, paths, records
from ..words.access import CHROOT, Identities
from ..words.errors import BadConfiguration, MasterworkerError, NotAuthorized
from .acls import AccessLists, identities_in
from .operations import Code, Create, Set
from .reader import Reader
from .session import Session

T = TypeVar("T")

UNDER_WAY: Final = 64
"""Requests sent before waiting for the first answer."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A znode's actual and expected ACL, as permissions by identity.

    `found` is empty if the ACL itself may not be read.
    """

    path: str
    kind: str
    found: dict[str, int]
    wanted: dict[str, int]

    @property
    def sound(self) -> bool:
        """Whether the znode has the expected ACL."""
        return self.found == self.wanted


class Locked(NamedTuple):
    """Znodes that did not have the expected ACL: those changed, and those whose ACL denied the
    change."""

    changed: list[Listed]
    denied: list[Listed]


class Lockdown:
    """The ACLs of a tree, as seen by an operator's session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def who(self) -> Identities | None:
        """The identities of each role; None if the tree is open. Raises NotAuthorized."""
        record, clients = self._session.read([paths.ACCESS, paths.ACCESS_CLIENTS])
        return identities_in(record, clients)

    def lock(self, who: Identities, me: str) -> Locked:
        """Give every znode its ACL; return those that had another. Can be repeated.

        `me` is this process's identity. It must be one of the operators, or the change could never
        be undone. Raises BadConfiguration, NotAuthorized.
        """
        if not self._session.chroot:
            raise BadConfiguration(
                "the hosts string has no chroot, and ZooKeeper's root cannot be locked: add a "
                "path, as in zk1:2181/production"
            )
        if me not in who.operator:
            raise BadConfiguration(
                f"your identity ({me or 'none'}) is not one of the operators: you would lock "
                "yourself out. Give --credentials or --tls-cert, and add that identity with "
                "--operator"
            )
        self._session.ensure_tree()
        self._session.access = AccessLists(who, me)
        self._write(paths.ACCESS, Identities(who.master, who.worker, (), who.operator))
        self._write(paths.ACCESS_CLIENTS, Identities(client=who.client))
        wrong = [one for one in self.walk(who) if not one.sound]
        denied = self._set(wrong)
        kept_out = {one.path for one in denied}
        return Locked([one for one in wrong if one.path not in kept_out], denied)

    def walk(self, who: Identities) -> Iterator[Listed]:
        """The chroot and every znode below it, with its actual and expected ACL."""
        for path, kind, found in self._lists(self._paths()):
            owners = access.owners_in(kind, found, who)
            yield Listed(path, kind, found, access.entries(kind, who, owners))

    # --- reading -----------------------------------------------------------------------------

    def _paths(self) -> Iterator[str]:
        """All paths of known kinds, parents first."""
        reader = Reader(self._session)
        yield CHROOT
        yield from (paths.ACCESS, paths.ACCESS_CLIENTS, paths.MASTER)
        for folder in paths.FOLDERS:
            yield folder
            children = [f"{folder}/{name}" for name in reader.names(folder)]
            yield from children
            if folder in (paths.ASSIGN, paths.STATUS):
                for child, names in reader.names_each(children):
                    yield from (f"{child}/{name}" for name in names)

    def _lists(self, found: Iterable[str]) -> Iterator[tuple[str, str, dict[str, int]]]:
        known = (path for path in found if _is_known(path))
        for part in _parts(known, UNDER_WAY):
            replies = [
                self._session.send(GetACL(self._absolute(path)), f"a read of the ACL of {path}")
                for path in part
            ]
            for path, reply in zip(part, replies, strict=True):
                try:
                    answer: Any = reply.wait()
                except NotAuthorized:
                    answer = ((), None)
                if answer is not None:
                    yield path, access.kind_of(path), _by_identity(answer[0])

    # --- writing -----------------------------------------------------------------------------

    def _write(self, path: str, who: Identities) -> None:
        data = records.encode_access(who)
        for operation in (Create(path, data), Set(path, data)):
            refusal = self._session.commit([operation]).wait()
            if refusal is None:
                return
            if refusal.code == Code.NO_AUTH:
                raise NotAuthorized(f"ZooKeeper denied writing {path}: only operators may do that")
            if refusal.code == Code.INVALID_ACL:
                raise BadConfiguration(
                    "ZooKeeper rejected one of these identities: it accepts digest:USER:HASH, and "
                    "x509:NAME if its zoo.cfg sets authProvider.x509. No ACL was changed"
                )
            if refusal.code != Code.NODE_EXISTS:
                raise MasterworkerError(f"{path} cannot be written: {refusal}")

    def _set(self, listed: Sequence[Listed]) -> list[Listed]:
        """Give each znode its expected ACL; return those whose ACL denied the change."""
        denied = []
        for part in _parts(listed, UNDER_WAY):
            replies = [
                self._session.send(
                    SetACL(self._absolute(one.path), _as_acl(one.wanted), -1),
                    f"a change of the ACL of {one.path}",
                )
                for one in part
            ]
            for one, reply in zip(part, replies, strict=True):
                try:
                    reply.wait()
                except NotAuthorized:
                    denied.append(one)
        return denied

    def _absolute(self, path: str) -> str:
        return (self._session.chroot + path).rstrip("/") or "/"


def _is_known(path: str) -> bool:
    """Whether the path is of a kind that has an ACL of ours; other znodes are left alone."""
    try:
        access.kind_of(path)
    except KeyError:
        return False
    return True


def _by_identity(acls: Iterable[ACL]) -> dict[str, int]:
    found: dict[str, int] = {}
    for acl in acls:
        identity = f"{acl.id.scheme}:{acl.id.id}"
        found[identity] = found.get(identity, 0) | acl.perms
    return found


def _as_acl(entries: dict[str, int]) -> list[ACL]:
    """The entries in kazoo's format, which holds only an integer and two strings."""
    parted = ((identity.partition(":"), int(granted)) for identity, granted in entries.items())
    return [ACL(granted, Id(scheme, name)) for (scheme, _, name), granted in parted]


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    stream = iter(items)
    while part := list(islice(stream, size)):
        yield part
