"""The access lists that a session gives to the znodes it creates.

An open tree costs nothing: every znode gets the same constant list. In a locked one each znode gets
the list of its kind and its owners, made once and kept.
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
"""Access lists kept ready: as many owners as a busy cluster has, and no endless memory."""


class AccessLists:
    """The access lists of a locked tree, for one session.

    `me` is the identity of this process, to which belongs what it makes for itself.
    """

    def __init__(self, who: Identities, me: str) -> None:
        self.who = who
        self.me = me
        self._packed: dict[tuple[str, tuple[str, ...]], bytes] = {}

    def of(self, create: Create) -> bytes:
        """The access list of a znode that is to be created, on the wire."""
        key = (access.kind_of(create.path), create.owners)
        packed = self._packed.get(key)
        if packed is None:
            if len(self._packed) >= KEPT:
                self._packed.clear()
            packed = self._packed[key] = pack_acl(access.entries(key[0], self.who, create.owners))
        return packed


def learn(session: Session, login: Login) -> AccessLists | None:
    """The access lists of the tree that a session has come to; None if it is open.

    Raises NotAuthorized if it is locked and does not know us, BadRecord, ConnectionLost.
    """
    who = identities_in(*session.read([paths.ACCESS, paths.ACCESS_CLIENTS]))
    if who is not None:
        return AccessLists(who, identify(session, login))
    if login.credentials is not None:
        log.warning(
            "credentials were given, and the tree at %s is open to everybody: see `mwctl acl init`",
            session.hosts,
        )
    return None


def identify(session: Session, login: Login) -> str:
    """Who we are to ZooKeeper, as in an access list: by the password, else by the certificate.

    Empty if we have shown neither, or the server does not look at certificates.
    """
    if login.credentials is not None:
        return login.credentials.id
    if login.tls is None or not login.tls.cert:
        return ""
    shown = session.send(WhoAmI(), "the question who we are").wait() or []
    return next((f"{scheme}:{name}" for scheme, name in shown if scheme == "x509"), "")


def identities_in(record: Found, clients: Found) -> Identities | None:
    """Who has which role, by the two records of a tree; None if the tree is open.

    Clients may not read the second, and need not. Raises NotAuthorized and BadRecord.
    """
    if record is None:
        return None
    if isinstance(record, Unreadable):
        raise NotAuthorized(
            f"ZooKeeper does not let us read {paths.ACCESS}: this tree is locked down, and we have "
            "no identity that it knows: are --credentials, or --tls-cert and --tls-key, the right "
            "ones? (`mwctl acl id` prints who we are)"
        )
    try:
        who = records.decode_access(record.data)
        if not isinstance(clients, Znode):
            return who
        others = records.decode_access(clients.data)
    except BadRecord as error:
        raise BadRecord(
            f"{paths.ACCESS} cannot be understood: {error}: run `mwctl acl init` again"
        ) from None
    return Identities(who.master, who.worker, others.client, who.operator)
