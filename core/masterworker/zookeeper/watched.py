"""Values that are read again only after a watch reports a possible change.

Watches are level-triggered: a watch sets a flag and wakes the owner's loop, which reads the full
state. The kind of event, and the number of events folded into one, do not matter. A reconnection
also sets the flag, since watches may have been missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .operations import Znode
from .replies import Reply
from .session import Session


class _Watched:
    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self.path = path
        self.stale = True
        """Whether the last read may be out of date."""

    def _fired(self, _event: Any) -> None:
        self.stale = True
        self._session.wake.set()


class Listing(_Watched):
    """The children of one znode."""

    _reply: Reply[list[str]] | None = None

    def ask(self) -> None:
        """Send the request, so that several listings can be under way together."""
        self.stale = False  # before the request: a watch that fires meanwhile must not be lost
        self._reply = self._session.children(self.path, self._fired)

    def read(self) -> list[str] | None:
        """The names, or None if the znode does not exist. Raises what Reply.wait raises."""
        if self._reply is None:
            self.ask()
        reply, self._reply = self._reply, None
        try:
            return reply.wait() if reply is not None else None
        except BaseException:
            self.stale = True
            raise


class Value(_Watched):
    """The data of one znode."""

    _asked: Callable[[], Znode | None] | None = None

    def ask(self) -> None:
        """Send the request, so that several can be under way together."""
        self.stale = False
        self._asked = self._session.ask(self.path, self._fired)

    def read(self) -> Znode | None:
        """The znode, or None if it does not exist. Raises what Session.get raises."""
        try:
            if self._asked is None:
                self.ask()
            wait, self._asked = self._asked, None
            return wait() if wait is not None else None
        except BaseException:
            self.stale = True
            raise


class Existence(_Watched):
    """Whether one znode exists."""

    def read(self) -> bool:
        """Whether it exists now."""
        self.stale = False
        try:
            return self._session.watch_existence(self.path, self._fired)
        except BaseException:
            self.stale = True
            raise
