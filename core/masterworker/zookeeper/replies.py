"""Waiting for requests under way, and the meaning of kazoo's exceptions.

A request has one of three outcomes: it was carried out, it was refused, or the outcome is unknown.
The last raises ConnectionLost; the caller must then read before it writes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.exceptions import KazooException as _KazooError
from kazoo.handlers.threading import KazooTimeoutError

from ..words.errors import ConnectionLost, MasterworkerError, NotAuthorized, SessionLost
from .internals import AuthenticationRequired
from .operations import Code, Refusal

T = TypeVar("T")

REQUIRES_AUTHENTICATION: Final = (
    "ZooKeeper requires its clients to authenticate (enforce.auth.enabled or "
    "sessionRequireClientSASLAuth) and did not accept this one: give --credentials or --tls-cert, "
    "and check that the server's enforce.auth.schemes includes digest or x509 (masterworker does "
    "not support SASL)"
)


class Reply(Generic[T]):
    """The answer to a request under way.

    It is overdue after `timeout` seconds. `abandon` gives up the session and is called with the
    reason; `what` names the request in errors.
    """

    def __init__(
        self, result: Any, what: str, timeout: float, abandon: Callable[[str], None]
    ) -> None:
        self._result = result
        self._what = what
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self.abandon = abandon

    def wait(self) -> T | None:
        """The answer, or None if the requested znode does not exist.

        Raises ConnectionLost if the connection broke, so that the outcome is unknown; SessionLost
        if the session is over, which includes an answer overdue by the session timeout;
        NotAuthorized.
        """
        try:
            answer: T = self._result.get(timeout=max(0.0, self._deadline - time.monotonic()))
        except NoNodeError:
            return None
        except KazooTimeoutError:
            self.abandon(f"no answer to {self._what} for {self._timeout:g} s")
            raise SessionLost(
                f"no answer to {self._what} in time: the session was given up"
            ) from None
        except (SessionExpiredError, ConnectionClosedError) as error:
            self.abandon(f"{type(error).__name__} during {self._what}")
            raise SessionLost(f"the session ended during {self._what}") from error
        except ConnectionLoss as error:
            raise ConnectionLost(f"the connection broke during {self._what}") from error
        except AuthenticationRequired as error:
            raise NotAuthorized(REQUIRES_AUTHENTICATION) from error
        except (NoAuthError, AuthFailedError) as error:
            raise NotAuthorized(
                f"ZooKeeper refused {self._what}: this identity lacks the permission"
            ) from error
        except _KazooError as error:
            raise MasterworkerError(
                f"ZooKeeper answered {self._what} with {type(error).__name__}"
            ) from error
        return answer


class Verdict:
    """The answer to a commit under way."""

    def __init__(self, reply: Reply[list[Refusal]]) -> None:
        self._reply = reply

    def wait(self) -> Refusal | None:
        """None if everything was carried out, else why nothing was. Raises what Reply.wait raises.

        A session that expires while its multi is being handled is reported by a refusal.
        """
        refusals = self._reply.wait()
        if not refusals:
            return None
        if refusals[0].code == Code.SESSION_EXPIRED:
            self._reply.abandon("it expired during a multi")
            raise SessionLost("the session expired during a multi")
        if refusals[0].code == Code.SESSION_MOVED:
            raise ConnectionLost("the session moved to another server during a multi")
        return refusals[0]
