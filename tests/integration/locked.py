"""A locked-down tree, and the login of each role."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from kazoo.client import KazooClient

from masterworker import Client, Credentials, Login
from masterworker.words.access import Identities
from masterworker.zookeeper.lockdown import Lockdown
from masterworker.zookeeper.session import Session
from tests.integration.running import SESSION_TIMEOUT, connected

PEOPLE = ("operator", "master", "worker", "other", "alice", "bob")
"""Two identities of workers, `worker` and `other`, and two of clients."""


def _credentials() -> dict[str, Credentials]:
    return {name: Credentials(name, f"pass-{secrets.token_hex(12)}") for name in PEOPLE}


@dataclass(frozen=True)
class Locked:
    """A chroot, and the credentials of all roles."""

    hosts: str
    credentials: dict[str, Credentials] = field(default_factory=_credentials)

    def lock(self) -> None:
        """Lock the tree."""
        with self.session("operator") as session:
            Lockdown(session).lock(self.identities, self.credentials["operator"].id)

    @property
    def identities(self) -> Identities:
        """The identities of each role."""
        ids = {name: one.id for name, one in self.credentials.items()}
        return Identities(
            master=(ids["master"],),
            worker=(ids["worker"], ids["other"]),
            client=(ids["alice"], ids["bob"]),
            operator=(ids["operator"],),
        )

    def login(self, name: str) -> Login:
        """The login of one of the identities."""
        return Login(self.credentials[name])

    def client(self, name: str, *, keep: bool = False) -> Client:
        """A client with one of the identities."""
        return Client(
            self.hosts,
            login=self.login(name),
            session_timeout=SESSION_TIMEOUT,
            acknowledge=keep,
        )

    @contextlib.contextmanager
    def session(self, name: str) -> Iterator[Session]:
        """A session with one of the identities."""
        session = Session(self.hosts, login=self.login(name))
        session.start()
        try:
            yield session
        finally:
            session.close()

    @contextlib.contextmanager
    def kazoo(self, name: str) -> Iterator[KazooClient]:
        """A plain kazoo client with one of the identities' credentials."""
        mine = self.credentials[name]
        shown = [("digest", f"{mine.user}:{mine.password}")]
        with connected(self.hosts, auth_data=shown) as kazoo:
            yield kazoo
