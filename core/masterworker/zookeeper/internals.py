"""All uses of kazoo beyond its documented interface, checked before the first connection.

Another version of kazoo may lack these parts or change their meaning. Therefore the version is
pinned in pyproject.toml, `check` looks for each part before the first connection, and no other
module touches a private attribute of kazoo (`tests/unit/test_internals.py` proves it).

We rely on these parts:

- `handler.async_result()` makes a result that is completed later, with `get` and `rawlink`.
- `KazooClient._call(request, result)` queues any object that has `type`, `serialize` and
  `deserialize`, and completes the result with what `deserialize` returns.
- `_CONNECTION_DROP` as a request makes kazoo's thread close the connection and make another.
- `KazooClient._connection` is the only `ConnectionHandler` of a client, made with it.
- `ConnectionHandler._connect(host, hostip, port)` opens a connection, completes the handshake,
  and returns the read timeout, two thirds of the session's, and the connect timeout, both in
  milliseconds. It is looked up on the instance each time.
- `ConnectionHandler._expand_client_hosts()` resolves the servers' names into a list of host,
  address and port, without those that do not resolve. It is looked up on the instance each time.
- `ConnectionHandler._invoke(timeout, request, xid=None)` sends a request of the handshake and waits
  for its answer at most `timeout` seconds; the first request is a `Connect`.
- `handler.create_connection(address=, hostname=, timeout=, ...)` opens a socket, and
  `handler.select` waits for sockets; both are looked up on the instance each time.
- `handler.timeout_exception` is what `_invoke` raises when the time is up.
- `Connect`, `GetACL` and `SetACL` are requests that can be passed to `_call`.
- `SessionClosedRequireSaslError` stands for the error of a server that requires authentication.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable
from typing import Any, Final

from kazoo import exceptions
from kazoo.client import KazooClient

from ..words.errors import BadConfiguration

OLDEST: Final = (2, 10)
BEFORE: Final = (2, 12)
"""Tested versions start at OLDEST and end before BEFORE."""

PARTS: Final = (
    ("kazoo.client", "KazooClient._call", ("request", "async_object")),
    ("kazoo.protocol.connection", "_CONNECTION_DROP", None),
    ("kazoo.protocol.connection", "ConnectionHandler._connect", ("host", "hostip", "port")),
    ("kazoo.protocol.connection", "ConnectionHandler._expand_client_hosts", ()),
    ("kazoo.protocol.connection", "ConnectionHandler._invoke", ("timeout", "request", "xid")),
    ("kazoo.handlers.threading", "SequentialThreadingHandler.create_connection", None),
    ("kazoo.handlers.threading", "SequentialThreadingHandler.select", None),
    ("kazoo.handlers.threading", "SequentialThreadingHandler.timeout_exception", None),
    ("kazoo.handlers.threading", "SequentialThreadingHandler.async_result", None),
    ("kazoo.protocol.serialization", "Connect", None),
    ("kazoo.protocol.serialization", "GetACL", None),
    ("kazoo.protocol.serialization", "SetACL", None),
    ("kazoo.exceptions", "SessionClosedRequireSaslError", None),
)
"""Each part's module and name, with its parameter names if it is called or replaced by position."""


class _Never(Exception):
    """Stands in for an error that this version of kazoo does not have."""


AuthenticationRequired: type[Exception] = getattr(
    exceptions, "SessionClosedRequireSaslError", _Never
)
"""Raised when the server requires authentication."""


@functools.cache
def check() -> None:
    """Raise BadConfiguration if the installed kazoo lacks a part that we rely on."""
    version = importlib.metadata.version("kazoo")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not OLDEST <= numbers < BEFORE:
        raise _unusable(version, "it was not tested, and private interfaces may differ")
    for module, name, parameters in PARTS:
        part = _find(module, name)
        if part is None:
            raise _unusable(version, f"it has no {module}.{name}")
        if parameters is not None and not _takes(part, parameters):
            raise _unusable(version, f"{module}.{name} takes other parameters")


def _unusable(version: str, why: str) -> BadConfiguration:
    oldest, before = (".".join(map(str, numbers)) for numbers in (OLDEST, BEFORE))
    return BadConfiguration(
        f"kazoo {version} is installed, and masterworker cannot use it: {why}; "
        f"run `pip install 'kazoo>={oldest},<{before}'`"
    )


def _find(module: str, name: str) -> Any:
    """A part of kazoo; None if it does not exist."""
    found: Any = importlib.import_module(module)
    for attribute in name.split("."):
        found = getattr(found, attribute, None)
    return found


def _takes(function: Callable[..., Any], parameters: tuple[str, ...]) -> bool:
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return tuple(names) == parameters


def submit(kazoo: KazooClient, request: Any) -> Any:
    """Queue a request of any type; return kazoo's asynchronous result."""
    result = kazoo.handler.async_result()
    kazoo._call(request, result)
    return result


def drop_connection(kazoo: KazooClient) -> None:
    """Close the connection; kazoo opens another."""
    submit(kazoo, _find("kazoo.protocol.connection", "_CONNECTION_DROP"))


def replace_expand(kazoo: KazooClient, by: Callable[..., Any]) -> Callable[..., Any]:
    """Let `by()` resolve the servers' names; return the function it replaces."""
    before: Callable[..., Any] = kazoo._connection._expand_client_hosts
    kazoo._connection._expand_client_hosts = by
    return before


def replace_connect(kazoo: KazooClient, by: Callable[..., Any]) -> Callable[..., Any]:
    """Let `by(host, hostip, port)` open connections; return the function it replaces."""
    before: Callable[..., Any] = kazoo._connection._connect
    kazoo._connection._connect = by
    return before


def replace_invoke(kazoo: KazooClient, by: Callable[..., Any]) -> Callable[..., Any]:
    """Let `by(timeout, request, xid)` send handshake requests; return the function it replaces."""
    before: Callable[..., Any] = kazoo._connection._invoke
    kazoo._connection._invoke = by
    return before
