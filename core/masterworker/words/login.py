"""A process's credentials and certificates for ZooKeeper, and the certificates it trusts.

Their string forms contain no secrets, so printing or logging them by accident reveals nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from .errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password for ZooKeeper's `digest` scheme, which sends them in plain text.

    Use them over TLS only, except on a network of your own.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises BadConfiguration if they cannot be sent as `user:password`."""
        sound = self.user and self.password and ":" not in self.user
        if not sound or not (self.user + self.password).isprintable():
            raise BadConfiguration(
                "invalid credentials: expected printable text of the form user:password, without "
                "':' in the user name"
            )

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """The credentials in a text `user:password`. Raises BadConfiguration without showing it."""
        user, _, password = text.strip("\r\n").partition(":")
        return cls(user, password)

    @property
    def id(self) -> str:
        """The identity that ZooKeeper gives a client with these credentials, as in an ACL.

        Source: DigestAuthenticationProvider.generateDigest of ZooKeeper.
        """
        secret = f"{self.user}:{self.password}".encode()
        digest = base64.b64encode(hashlib.sha1(secret).digest()).decode()  # noqa: S324 - theirs
        return f"digest:{self.user}:{digest}"


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings. All files are in PEM format.

    `ca` has the trusted authorities; one of them must have signed the servers' certificates.
    `cert` and `key` are the process's own, for servers that request them. If `check_hostname` is
    off, every holder of a certificate by these authorities can pass for a server.
    """

    ca: str
    cert: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        """Raise BadConfiguration if the CA is missing, or one of certificate and key."""
        if not self.ca:
            raise BadConfiguration("TLS needs a CA file with the authorities to trust")
        if bool(self.cert) != bool(self.key):
            raise BadConfiguration("a TLS client certificate and its key must be given together")


@dataclass(frozen=True, slots=True)
class Login:
    """A process's login to ZooKeeper; by default without credentials and without TLS."""

    credentials: Credentials | None = None
    tls: Tls | None = None
