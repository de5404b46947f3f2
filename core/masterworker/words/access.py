"""Which role may do what to which znode: the table from which all ACLs are made.

ZooKeeper has no groups, and children do not inherit ACLs. Every znode is therefore created with an
ACL of its own, which depends on the kind of its path. Each entry names an identity:
`digest:USER:HASH` or `x509:DISTINGUISHED NAME`. `/access` lists the identities of each role, and
roles read it when they start. Without it the tree is open to everyone.

In ZooKeeper, the permissions to create and delete a znode belong to its parent.
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
"""Maximum length of an identity, in characters."""

ANYONE: Final = "world:anyone"
"""The identity that every client of ZooKeeper has."""

_DIGEST = re.compile(r"digest:[^:]+:[A-Za-z0-9+/]{27}=\Z")
_X509 = re.compile(r"x509:.*=.*\Z")


class Permission(IntFlag):
    """The permissions of an entry, with ZooKeeper's numbers (ZooDefs.Perms)."""

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
    """The permissions for the letters c, d, r, w and a, as in zkCli.sh."""
    total = NOTHING
    for letter in letters:
        total |= _LETTERS[letter]
    return total


def letters(granted: int) -> str:
    """Convert permissions to letters, in the order of zkCli.sh; `-` for none."""
    return "".join(letter for letter, one in _LETTERS.items() if one & granted) or "-"


class Grants(NamedTuple):
    """The letters of each role's permissions on one kind of znode; the operator has all of them.

    `owner` is the owner of the znode: the client that submitted the task, or the worker that
    registered. An assigned task has both owners.
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
"""Permissions by kind of path. docs/security.md explains each row."""

_BY_PLACE: Final = {
    (kind.split("/")[1], kind.count("/")): kind
    for kind in TABLE
    if kind not in (CHROOT, "/status/<task>")
}


def kind_of(path: str) -> str:
    """The kind of znode at a path; a key of TABLE. Raises KeyError for an unknown path."""
    if path == CHROOT:
        return CHROOT
    parts = path.split("/")
    kind = _BY_PLACE[parts[1], len(parts) - 1]
    if kind == "/status/<client>" and not paths.is_client(parts[2]):
        return "/status/<task>"
    return kind


@dataclass(frozen=True, slots=True)
class Identities:
    """The identities of each role. One identity may have several roles."""

    master: tuple[str, ...] = ()
    worker: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()


def check_identity(text: str) -> str:
    """Return `text` if it is an identity; else raise BadConfiguration, which shows the form."""
    sound = _DIGEST.match(text) or _X509.match(text)
    if not sound or not text.isprintable() or len(text) > MAX_IDENTITY:
        raise BadConfiguration(
            f"{text!r:.600} is not an identity: expected digest:USER:HASH or "
            "x509:DISTINGUISHED NAME. To print your identity, run `mwctl acl id`"
        )
    return text


def owners_in(kind: str, found: Mapping[str, int], who: Identities) -> list[str]:
    """The owners of a znode of this kind, according to its ACL.

    These are the workers and clients that the ACL gives an owner's permissions.
    """
    owned = permissions(TABLE[kind].owner)
    return [
        identity
        for identity in dict.fromkeys((*who.worker, *who.client))
        if owned and found.get(identity, 0) & owned == owned
    ]


def entries(kind: str, who: Identities, owners: Iterable[str] = ()) -> dict[str, int]:
    """The ACL of a znode of this kind: the permissions of each identity.

    `owners` are the identities that own it; empty ones are ignored.
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
