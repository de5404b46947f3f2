"""Stalls: times at which the machine itself stood still, because of its processor or its disk.

They alone can make a lease expire and a session end, and then tasks run again as after a fault. A
thread of the driver therefore continually does what every process depends on, a short sleep and an
fsync, and records when that took too long.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

from masterworker.dev.processes import Startable
from tests.chaos.journal import Journal

FILE: Final = "stalls.jsonl"

BEAT: Final = 0.1
"""Seconds between two checks."""

SHARE: Final = 1 / 6
"""The fraction of a session timeout above which a check took too long: heartbeats are that far
apart, and one that is that late may let a lease expire."""


class Lookout(Startable):
    """Watches for stalls during the run in the directory `run`."""

    def __init__(self, run: Path, session_timeout: float) -> None:
        self._longest = BEAT + session_timeout * SHARE
        self._journal = Journal(run / FILE)
        self._probe = run / "probe"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Check once more, and end."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        over = False
        while not over:
            began = time.time()
            over = self._over.wait(BEAT)
            with self._probe.open("wb") as probe:
                probe.write(b".")
                probe.flush()
                os.fsync(probe.fileno())
            ended = time.time()
            if ended - began > self._longest:
                self._journal.write({"began": began, "ended": ended})
