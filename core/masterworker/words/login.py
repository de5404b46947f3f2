"""What a process shows to ZooKeeper, and what it wants to be shown: a password, certificates.

No secret stands in any of their texts: what is printed or logged by accident betrays nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from .errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, for ZooKeeper's `digest` scheme, which sends them in clear.

    Use them over TLS only, wherever a network is not your own.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises BadConfiguration for what cannot be sent as `user:password`."""
        sound = self.user and self.password and ":" not in self.user
        if not sound or not (self.user + self.password).isprintable():
            raise BadConfiguration(
                "credentials are user:password: printable text, with no ':' in the user's name"
            )

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """The credentials in a text `user:password`. Raises BadConfiguration, not showing it."""
        user, _, password = text.strip("\r\n").partition(":")
        return cls(user, password)

    @property
    def id(self) -> str:
        """The identity that ZooKeeper gives to whoever has them, as in an access list.

        Source: DigestAuthenticationProvider.generateDigest of ZooKeeper.
        """
        secret = f"{self.user}:{self.password}".encode()
        digest = base64.b64encode(hashlib.sha1(secret).digest()).decode()  # noqa: S324 - theirs
        return f"digest:{self.user}:{digest}"


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS. All are names of PEM files.

    `ca` has the authorities of which one must have signed the servers' certificates, and no other
    is trusted. `cert` and `key` are our own, for servers that ask for them. `check_hostname` off
    lets every holder of a certificate by these authorities pass for a server.
    """

    ca: str
    cert: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        """Raises BadConfiguration for a certificate without its key, or a key without its own."""
        if not self.ca:
            raise BadConfiguration("TLS needs to know which authority to trust: give its CA file")
        if bool(self.cert) != bool(self.key):
            raise BadConfiguration("a TLS certificate and its key go together: give both files")


@dataclass(frozen=True, slots=True)
class Login:
    """How a process gets into ZooKeeper; as it stands, without credentials and without TLS."""

    credentials: Credentials | None = None
    tls: Tls | None = None
