"""The ACLs that a session gives to the znodes it creates.

In an open tree every znode gets the same constant ACL. In a locked tree each znode gets the ACL of
its kind and owners, which is built once and cached.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..words import access, paths, records
from ..words.access import Identities
from ..words.errors import BadRecord, NotAuthorized
from ..words.login import Login
from .operations import Create, Found, Unreadable, WhoAmI, Znode, pack_acl

if TYPE_CHECKING:
    from .session import Session

log = logging.getLogger(__name__)

KEPT: Final = 10_000
"""Maximum number of cached ACLs: enough for the owners of a busy cluster, with bounded memory."""


class AccessLists:
    """The ACLs of a locked tree, for one session.

    `me` is the identity of this process, which owns the znodes it creates for itself.
    """

    def __init__(self, who: Identities, me: str) -> None:
        self.who = who
        self.me = me
        self._packed: dict[tuple[str, tuple[str, ...]], bytes] = {}

    def of(self, create: Create) -> bytes:
        """The serialized ACL for a znode about to be created."""
        key = (access.kind_of(create.path), create.owners)
        packed = self._packed.get(key)
        if packed is None:
            if len(self._packed) >= KEPT:
                self._packed.clear()
            packed = self._packed[key] = pack_acl(access.entries(key[0], self.who, create.owners))
        return packed


def learn(session: Session, login: Login) -> AccessLists | None:
    """The ACLs of the session's tree; None if the tree is open.

    Raises NotAuthorized if the tree is locked and does not know this process, BadRecord,
    ConnectionLost.
    """
    who = identities_in(*session.read([paths.ACCESS, paths.ACCESS_CLIENTS]))
    if who is not None:
        return AccessLists(who, identify(session, login))
    if login.credentials is not None:
        log.warning(
            "credentials were given, but the tree at %s is open to everyone: see `mwctl acl init`",
            session.hosts,
        )
    return None


def identify(session: Session, login: Login) -> str:
    """This process's identity as in an ACL: from its password, else from its certificate.

    Empty if it presented neither, or if the server does not authenticate by certificate.
    """
    if login.credentials is not None:
        return login.credentials.id
    if login.tls is None or not login.tls.cert:
        return ""
    shown = session.send(WhoAmI(), "the request for our identity").wait() or []
    return next((f"{scheme}:{name}" for scheme, name in shown if scheme == "x509"), "")


def identities_in(record: Found, clients: Found) -> Identities | None:
    """The identities of each role, from the tree's two access records; None if the tree is open.

    Clients cannot read the second record and do not need it. Raises NotAuthorized and BadRecord.
    """
    if record is None:
        return None
    if isinstance(record, Unreadable):
        raise NotAuthorized(
            f"ZooKeeper denied reading {paths.ACCESS}: the tree is locked down and does not know "
            "this process's identity. Check --credentials, or --tls-cert and --tls-key; "
            "`mwctl acl id` prints the identity"
        )
    try:
        who = records.decode_access(record.data)
        if not isinstance(clients, Znode):
            return who
        others = records.decode_access(clients.data)
    except BadRecord as error:
        raise BadRecord(
            f"{paths.ACCESS} is not a valid record ({error}): run `mwctl acl init` again"
        ) from None
    return Identities(who.master, who.worker, others.client, who.operator)
