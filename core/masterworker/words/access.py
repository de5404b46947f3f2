"""Who may do what to which znode: the one table that access lists are made from.

ZooKeeper knows no groups and passes no list on to children. So every znode is created with a list
of its own, that of its kind of path, and each entry names an identity: `digest:USER:HASH` or
`x509:DISTINGUISHED NAME`. Who has which role stands in `/access`, which roles read when they start;
without it the tree is open to everybody.

The right to delete a znode is its parent's, as is the right to create one; it is so in ZooKeeper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NamedTuple

from . import paths
from .errors import BadConfiguration

MAX_IDENTITY: Final = 500
"""Characters of an identity."""

ANYONE: Final = "world:anyone"
"""The identity that everybody has."""

_DIGEST = re.compile(r"digest:[^:]+:[A-Za-z0-9+/]{27}=\Z")
_X509 = re.compile(r"x509:.*=.*\Z")


class Permission(IntFlag):
    """What an entry allows. The numbers are those of ZooKeeper (ZooDefs.Perms)."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16


NOTHING: Final = Permission(0)
ALL: Final = Permission(31)
_LETTERS: Final = {
    "c": Permission.CREATE,
    "d": Permission.DELETE,
    "r": Permission.READ,
    "w": Permission.WRITE,
    "a": Permission.ADMIN,
}


def permissions(letters: str) -> Permission:
    """The permissions that letters stand for, those of zkCli.sh: c, d, r, w and a."""
    total = NOTHING
    for letter in letters:
        total |= _LETTERS[letter]
    return total


def letters(granted: int) -> str:
    """The letters of permissions, in the order of zkCli.sh; `-` for none."""
    return "".join(letter for letter, one in _LETTERS.items() if one & granted) or "-"


class Grants(NamedTuple):
    """What each role may do to one kind of znode, in letters; the operator may do everything.

    `owner` is whoever the znode belongs to: the client that submitted the task, the worker that
    registered. A task assigned belongs to both.
    """

    master: str = ""
    worker: str = ""
    client: str = ""
    owner: str = ""


CHROOT: Final = "/"

TABLE: Final[Mapping[str, Grants]] = {
    CHROOT: Grants(master="cd"),
    "/access": Grants(master="r", worker="r", client="r"),
    "/access/clients": Grants(master="r", worker="r"),
    "/master": Grants(master="r", client="r"),
    "/epoch": Grants(master="rw"),
    "/masters": Grants(master="c"),
    "/masters/<master>": Grants(master="r"),
    "/workers": Grants(master="r", worker="cd", client="r"),
    "/workers/<worker>": Grants(master="r", client="r", owner="rw"),
    "/assign": Grants(master="cdr", worker="cd", client="r"),
    "/assign/<worker>": Grants(master="cdr", owner="dr"),
    "/assign/<worker>/<task>": Grants(master="r", owner="r"),
    "/tasks": Grants(master="cdr", worker="c", client="c"),
    "/tasks/<task>": Grants(master="r", owner="r"),
    "/status": Grants(master="cdrw", worker="c", client="c"),
    "/status/<client>": Grants(master="cdrw", worker="c", owner="drw"),
    "/status/<client>/<n>": Grants(owner="r"),
    "/status/<task>": Grants(master="r", client="r"),
    "/cancel": Grants(master="dr", client="c"),
    "/cancel/<task>": Grants(master="r", owner="r"),
}
"""What may be done, by kind of path. docs/security.md says why, row by row."""

_BY_PLACE: Final = {
    (kind.split("/")[1], kind.count("/")): kind
    for kind in TABLE
    if kind not in (CHROOT, "/status/<task>")
}


def kind_of(path: str) -> str:
    """The kind of znode that lies at a path; a key of TABLE. KeyError for a path of no kind."""
    if path == CHROOT:
        return CHROOT
    parts = path.split("/")
    kind = _BY_PLACE[parts[1], len(parts) - 1]
    if kind == "/status/<client>" and not paths.is_client(parts[2]):
        return "/status/<task>"
    return kind


@dataclass(frozen=True, slots=True)
class Identities:
    """Who has which role. One identity may have several."""

    master: tuple[str, ...] = ()
    worker: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()


def check_identity(text: str) -> str:
    """Return `text` if it is an identity; raise BadConfiguration saying what one looks like."""
    sound = _DIGEST.match(text) or _X509.match(text)
    if not sound or not text.isprintable() or len(text) > MAX_IDENTITY:
        raise BadConfiguration(
            f"{text!r:.600} is no identity: expected digest:USER:HASH or x509:DISTINGUISHED NAME; "
            "`mwctl acl id` prints yours"
        )
    return text


def owners_in(kind: str, found: Mapping[str, int], who: Identities) -> list[str]:
    """Whom a znode of this kind belongs to, by the access list it has.

    That is every worker and client named there with an owner's permissions.
    """
    owned = permissions(TABLE[kind].owner)
    return [
        identity
        for identity in dict.fromkeys((*who.worker, *who.client))
        if owned and found.get(identity, 0) & owned == owned
    ]


def entries(kind: str, who: Identities, owners: Iterable[str] = ()) -> dict[str, int]:
    """The access list of a znode of this kind: the permissions of each identity.

    `owners` are the identities it belongs to; an empty one is nobody's.
    """
    grants = TABLE[kind]
    found: dict[str, int] = dict.fromkeys(who.operator, ALL)
    held = (
        (who.master, grants.master),
        (who.worker, grants.worker),
        (who.client, grants.client),
        (owners, grants.owner),
    )
    for identities, granted in held:
        allowed = permissions(granted)
        for identity in identities:
            if identity and allowed:
                found[identity] = found.get(identity, NOTHING) | allowed
    return found
