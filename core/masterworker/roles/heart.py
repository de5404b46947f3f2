"""A worker's heartbeat: detects whether its session is alive, and stops attempts if it is not.

It has its own thread, so that a long round of the worker does not count as silence. The thread
sends the heartbeats, renews the lease for attempts, and wakes the worker when ZooKeeper becomes
silent and when it answers again.
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
"""The fraction of the session timeout after which a worker without contact stops its attempts.

The leader ends a session a full timeout after it last heard of it. That may have been one heartbeat
interval and half a tick before the last heartbeat that we know it answered, and the timeout is at
least two ticks. The leader therefore waits at least 1 - BEAT - 1/4 = 0.58 of the timeout."""

BEAT: Final = 1 / 6
"""The fraction of the session timeout between two heartbeats."""

LOOK: Final = BEAT / 4
"""The fraction of the session timeout between two checks whether a heartbeat was answered, or has
been overdue since before the connection came back. If the lease were renewed only at the next
heartbeat, attempts would end after a third of the outage that they can survive."""


class Heart:
    """Sends heartbeats for one session until it is stopped.

    `lease` is called with the monotonic second until which attempts may run.
    """

    def __init__(self, session: Session, lease: Callable[[float], None]) -> None:
        self._session = session
        self._lease = lease
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Start, with a lease counted from the start of the session."""
        self.renew()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the lease expires on its own."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def interval(self) -> float:
        """Seconds between two heartbeats."""
        return self._session.timeout * BEAT

    @property
    def silent(self) -> bool:
        """Whether ZooKeeper has been silent for so long that attempts must not run."""
        return time.monotonic() > self._until

    def renew(self) -> None:
        """Let attempts run for as long as the session is known to be alive."""
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
                log.warning("ZooKeeper %s", "is silent: attempts stop" if silent else "is back")
                self._session.wake.set()
            if self._stopped.wait(self._session.timeout * LOOK):
                return

    def _beat(self) -> None:
        try:
            self._session.beat()
        except MasterworkerError as error:
            log.info("cannot send a heartbeat: %s", error)
