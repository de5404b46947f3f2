"""TLS connections for kazoo, which work around three problems of its own.

kazoo also trusts all of the system's authorities, although a private cluster's servers are signed
by its own. It loads the key file only at each connection, so errors show up only then, and an
encrypted key without a password makes OpenSSL prompt at the terminal. It also waits for the socket
even when the data is already decrypted in memory, because several answers came in one record.

Certificates expire and are replaced while processes run. The files are therefore read at the start
and again at each connection; while they are not usable, the previous ones stay in effect.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient

from ..words.errors import BadConfiguration, NotTrusted, Unavailable
from ..words.login import Tls

log = logging.getLogger(__name__)

Opener = Callable[..., socket.socket]
"""kazoo's function to open a connection: an address, and the keywords timeout and hostname."""


def use(kazoo: KazooClient, tls: Tls) -> None:
    """Make a kazoo client use TLS. Raises BadConfiguration if the files are not usable."""
    context = context_for(tls)
    handler = kazoo.handler
    select = handler.select

    def open_connection(
        address: tuple[str, int], *, hostname: str = "", timeout: float = 0.0, **_unused: Any
    ) -> socket.socket:
        nonlocal context
        try:
            context = context_for(tls)
        except BadConfiguration as error:
            log.warning("%s; still using the files as read before", error)
        plain = socket.create_connection(address, timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=hostname or address[0])

    def select_decrypted(
        readers: Sequence[Any], writers: Sequence[Any], others: Sequence[Any], timeout: float
    ) -> Any:
        ready = [one for one in readers if isinstance(one, ssl.SSLSocket) and one.pending()]
        if not ready:
            return select(readers, writers, others, timeout)
        rest = [one for one in readers if one not in ready]
        also, writable, failed = select(rest, writers, others, 0.0)
        return [*ready, *also], writable, failed

    handler.create_connection = open_connection
    handler.select = select_decrypted


def context_for(tls: Tls) -> ssl.SSLContext:
    """The SSL context for these files. Raises BadConfiguration, naming the invalid file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires and verifies certificates
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.check_hostname
    try:
        context.load_verify_locations(tls.ca)
    except OSError as error:
        raise BadConfiguration(
            f"cannot use the TLS authority's certificate in {tls.ca}: {error.strerror}"
        ) from None
    if tls.cert:
        try:
            # Without a password, OpenSSL must not prompt for one at the terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: tls.key_password)
        except OSError as error:
            raise BadConfiguration(
                f"cannot use the TLS certificate in {tls.cert} with the key in {tls.key} (check "
                f"that they belong together and the key's password): {error.strerror}"
            ) from None
    return context


def is_distrust(failure: BaseException) -> bool:
    """Whether a connection failed because one side rejected the other's certificate."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return True
    return isinstance(failure, ssl.SSLError) and "ALERT" in str(failure.reason)


def trouble(hosts: str, failure: BaseException | None, tls: Tls | None) -> Unavailable | None:
    """The error for the last failed connection; None if it had nothing to do with TLS."""
    if tls is None or failure is None:
        return None
    if isinstance(failure, ssl.SSLCertVerificationError):
        return NotTrusted(
            f"ZooKeeper at {hosts} is not trusted: {failure.verify_message.rstrip('.')}. Its "
            f"certificate must be signed by an authority in {tls.ca}, be valid now, and name the "
            "host as given in --hosts"
        )
    reason = str(getattr(failure, "reason", None) or failure)
    if is_distrust(failure):
        shown = f"the certificate in {tls.cert}" if tls.cert else "no certificate"
        return NotTrusted(
            f"ZooKeeper at {hosts} ended the TLS handshake ({reason}); it received "
            f"{shown}: give --tls-cert and --tls-key with a certificate that its ssl.trustStore "
            "trusts"
        )
    if isinstance(failure, ssl.SSLError | ConnectionResetError):
        return Unavailable(
            f"no TLS connection to ZooKeeper at {hosts} ({reason}): check that the port is the "
            "secureClientPort of its zoo.cfg"
        )
    return None
