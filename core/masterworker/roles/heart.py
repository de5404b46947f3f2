"""A worker's heartbeat: how it knows that its session lives, and what happens when it does not.

A thread of its own, so that a long round of the worker is not taken for silence. It sends the
heartbeats, renews the lease until which attempts may run, and wakes the worker when ZooKeeper falls
silent and when it is heard again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..words.errors import MasterworkerError
from ..zookeeper.session import Session

log = logging.getLogger(__name__)

FENCE: Final = 0.5
"""The part of the session's timeout after which a silent worker stops its attempts.

The leader ends a session a full timeout after it last heard of it. It may have heard last a
heartbeat interval and half a tick before the heartbeat we know it answered, and the timeout is at
least two ticks: so it waits 1 - BEAT - 1/4 of the timeout, 0.58, or longer."""

BEAT: Final = 1 / 6
"""The part of the session's timeout between two heartbeats."""

LOOK: Final = BEAT / 4
"""The part of the session's timeout between two looks at whether a heartbeat was answered, or has
been due since before the connection came back: a lease that waited for the next heartbeat to be
renewed would end attempts over an absence of a third of the time they can bear."""


class Heart:
    """Beats for one session until it is stopped.

    `lease` is told until which monotonic second attempts may run.
    """

    def __init__(self, session: Session, lease: Callable[[float], None]) -> None:
        self._session = session
        self._lease = lease
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin, with a lease from the moment at which the session was begun."""
        self.renew()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the lease runs out by itself."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def interval(self) -> float:
        """Seconds between two heartbeats."""
        return self._session.timeout * BEAT

    @property
    def silent(self) -> bool:
        """Whether ZooKeeper was not heard for so long that attempts must not run."""
        return time.monotonic() > self._until

    def renew(self) -> None:
        """Let attempts run for as long as the session is known to live."""
        self._lease(self._until)

    @property
    def _until(self) -> float:
        return self._session.confirmed + self._session.timeout * FENCE

    def _run(self) -> None:
        silent = False
        next_beat = 0.0
        while not self._session.lost:
            if not self._session.connected:
                next_beat = 0.0
            elif time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self.interval
                self._beat()
            self.renew()
            if silent != self.silent:
                silent = not silent
                log.warning("ZooKeeper is %s", "silent: attempts stop" if silent else "heard again")
                self._session.wake.set()
            if self._stopped.wait(self._session.timeout * LOOK):
                return

    def _beat(self) -> None:
        try:
            self._session.beat()
        except MasterworkerError as error:
            log.info("no heartbeat: %s", error)
