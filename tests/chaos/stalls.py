"""Stalls: times at which the machine itself stood still, be it the processor or the disk.

A lease can run out and a session end for no other reason, and then tasks run again as they do after
a fault. So a thread of the driver's does all the time what everybody here depends on, a short sleep
and an fsync, and writes down when that took too long.
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
"""Seconds between two looks."""

SHARE: Final = 1 / 6
"""The part of a session's timeout beyond which a look took too long: heartbeats are as far apart,
and with one of them that late a lease may end."""


class Lookout(Startable):
    """Watches for stalls during the run in the directory `run`."""

    def __init__(self, run: Path, session_timeout: float) -> None:
        self._longest = BEAT + session_timeout * SHARE
        self._journal = Journal(run / FILE)
        self._probe = run / "probe"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end."""
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
