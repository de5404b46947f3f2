"""Giving a tree its access lists, and finding out whether it has them: `mwctl acl`.

Both are one walk over all that lies below the chroot, which compares each znode's list with the one
it should have. A tree at work may be walked too: what vanishes meanwhile needs no list any more.
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
"""Requests sent before the first answer is waited for."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One znode: the access list it has, and the one it should have; permissions by identity.

    `found` is empty for a list that does not even let us read itself.
    """

    path: str
    kind: str
    found: dict[str, int]
    wanted: dict[str, int]

    @property
    def sound(self) -> bool:
        """Whether it has the list it should have."""
        return self.found == self.wanted


class Locked(NamedTuple):
    """Znodes that had another list than they should have: those changed, and those whose own list
    keeps us from changing it."""

    changed: list[Listed]
    denied: list[Listed]


class Lockdown:
    """The access lists of the tree that a session, an operator's, has come to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def who(self) -> Identities | None:
        """Who has which role, as the tree says; None if it is open. Raises NotAuthorized."""
        record, clients = self._session.read([paths.ACCESS, paths.ACCESS_CLIENTS])
        return identities_in(record, clients)

    def lock(self, who: Identities, me: str) -> Locked:
        """Give every znode its list; return those whose list was another. Can be repeated.

        `me` is who we are: it must be among the operators, or this could never be undone. Raises
        BadConfiguration, NotAuthorized.
        """
        if not self._session.chroot:
            raise BadConfiguration(
                "the hosts string has no chroot, and the root of ZooKeeper itself is not ours to "
                "lock: name a path, as in zk1:2181/production"
            )
        if me not in who.operator:
            raise BadConfiguration(
                f"you are {me or 'nobody'} to ZooKeeper, and not among the operators: you would "
                "lock yourself out. Give --credentials or --tls-cert, and name them --operator too"
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
        """Every znode below the chroot, and that itself, as it is and as it should be."""
        for path, kind, found in self._lists(self._paths()):
            owners = access.owners_in(kind, found, who)
            yield Listed(path, kind, found, access.entries(kind, who, owners))

    # --- reading -----------------------------------------------------------------------------

    def _paths(self) -> Iterator[str]:
        """All paths whose kind is known, parents first."""
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
                self._session.send(GetACL(self._absolute(path)), f"the access list of {path}")
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
                raise NotAuthorized(f"ZooKeeper does not let us write {path}: only operators may")
            if refusal.code == Code.INVALID_ACL:
                raise BadConfiguration(
                    "ZooKeeper does not know one of these identities: it takes digest:USER:HASH, "
                    "and x509:NAME where its zoo.cfg has authProvider.x509; no list was changed"
                )
            if refusal.code != Code.NODE_EXISTS:
                raise MasterworkerError(f"{path} cannot be written: {refusal}")

    def _set(self, listed: Sequence[Listed]) -> list[Listed]:
        """Give each the list it should have; return those whose own list does not let us."""
        denied = []
        for part in _parts(listed, UNDER_WAY):
            replies = [
                self._session.send(
                    SetACL(self._absolute(one.path), _as_acl(one.wanted), -1),
                    f"the change of the access list of {one.path}",
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
        return self._session.chroot + ("" if path == CHROOT else path)


def _is_known(path: str) -> bool:
    """Whether it is of a kind that we give access lists to; strangers are left alone."""
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
    """Entries for kazoo, which takes no more than an integer and two texts."""
    parted = ((identity.partition(":"), int(granted)) for identity, granted in entries.items())
    return [ACL(granted, Id(scheme, name)) for (scheme, _, name), granted in parted]


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    stream = iter(items)
    while part := list(islice(stream, size)):
        yield part
