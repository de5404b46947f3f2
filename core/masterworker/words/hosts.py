"""The hosts string: the ZooKeeper servers, and the chroot of the cluster.

All code that takes a hosts string uses this parser. kazoo's own accepts malformed ones: in
`zk1:2181/prod,zk2:2181/prod` it finds one server and the path `/prod,zk2:2181/prod`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from . import paths
from .errors import BadConfiguration
from .limits import MAX_NAME

DEFAULT_PORT: Final = 2181

MOST_SERVERS: Final = 64
MAX_CHROOT: Final = 1_000  # characters

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?\Z")
_MAX_NAME = 253  # characters of a host's name, RFC 1035
_FORM: Final = "HOST:PORT[,HOST:PORT...][/PATH], as in zk1:2181,zk2:2181/production"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Servers, as hosts and ports, and the chroot; it is empty for none."""

    servers: tuple[tuple[str, int], ...]
    chroot: str = ""

    def __str__(self) -> str:
        servers = (
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers
        )
        return ",".join(servers) + self.chroot


def parse(text: str) -> Hosts:
    """The servers and chroot of a hosts string. Raises BadConfiguration, which shows the form."""
    try:
        return _parse(text)
    except ValueError as error:
        shown = "this" if "@" in text else repr(text[:300])  # it may contain a password
        raise BadConfiguration(
            f"{shown} is not a hosts string: {error}; expected {_FORM}"
        ) from None


def _parse(text: str) -> Hosts:
    """Like `parse`, but raises ValueError that says what is wrong."""
    if not text:
        raise ValueError("it is empty")
    if not text.isprintable() or any(character.isspace() for character in text):
        raise ValueError("it contains spaces or control characters")
    if "://" in text:
        raise ValueError("it must not contain a scheme such as 'zk://'")
    if "@" in text:
        raise ValueError("it must not contain a user or password (use --credentials)")
    listed, slash, rest = text.partition("/")
    chroot = slash + rest
    if "," in chroot:
        raise ValueError(_misplaced(text))
    servers = tuple(_server(part) for part in listed.split(","))
    if len(servers) > MOST_SERVERS:
        raise ValueError(f"it names {len(servers):,} servers, but the limit is {MOST_SERVERS}")
    return Hosts(servers, _chroot(chroot))


def _misplaced(text: str) -> str:
    """The error for a path before the last server, or with a comma in it."""
    parts = [part.partition("/") for part in text.split(",")]
    chroots = {slash + path for _, slash, path in parts if slash}
    if len(chroots) == 1 and all(server for server, _, _ in parts):
        right = ",".join(server for server, _, _ in parts) + chroots.pop()
        return f"the path must appear only once, after the last server: {right[:300]}"
    return "the path must appear only once, after the last server, and must not contain a comma"


def _server(text: str) -> tuple[str, int]:
    shown = repr(text[:300])
    if not text:
        raise ValueError("a server is missing before or after a comma")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError(f"{shown} has no closing bracket after the IPv6 address")
        _require_ipv6(host)
        if rest and not rest.startswith(":"):
            raise ValueError(f"expected ':PORT' after the closing bracket, not {rest[:300]!r}")
        return host, _port(rest[1:], shown) if rest else DEFAULT_PORT
    if text.count(":") > 1:
        raise ValueError(
            f"{shown} has several colons: put IPv6 addresses in brackets, as in [::1]:2181"
        )
    host, colon, port = text.partition(":")
    if not host:
        raise ValueError(f"{shown} has no host")
    if len(host) > _MAX_NAME or not _NAME.match(host):
        raise ValueError(f"{host[:300]!r} is not a valid host name or address")
    return host, _port(port, shown) if colon else DEFAULT_PORT


def _require_ipv6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"[{host[:300]}] is not an IPv6 address") from None


def _port(port: str, server: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{server} needs a port from 1 to 65535")
    return int(port)


def _chroot(path: str) -> str:
    if path in ("", "/"):
        return ""
    if len(path) > MAX_CHROOT:
        raise ValueError(f"its path has {len(path):,} characters, but the limit is {MAX_CHROOT:,}")
    parts = path[1:].split("/")
    if "" in parts:
        raise ValueError(f"the path {path[:300]!r} has an extra '/'")
    for part in parts:
        if not paths.is_name(part):
            raise ValueError(
                f"the path contains {part[:300]!r}: each part must have 1 to {MAX_NAME} printable "
                "ASCII characters, and must not be '.' or '..'"
            )
    if parts[0] == "zookeeper":
        raise ValueError("the path /zookeeper is reserved by ZooKeeper")
    return path
