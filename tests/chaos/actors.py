"""The processes of a campaign, each restarted a moment after it ends, as a supervisor would do.

An actor is a master, a worker, a client or a ZooKeeper server that keeps its name across restarts.
A fault claims an actor first, so that no two faults hit the same one at a time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from masterworker.dev.processes import Process
from masterworker.dev.server import PortTaken
from masterworker.zookeeper.failpoints import VARIABLE
from tests.chaos.journal import Journal
from tests.faults.proxy import Proxy

REST: Final = 0.5
"""Seconds between a process's end and its restart, unless a fault says otherwise."""

CLAIM_PATIENCE: Final = 3.0
"""Seconds that a fault waits for another one to release its target."""


class Busy(Exception):
    """Another fault has not released this actor in time."""


class Actor:
    """Successive processes under one name; a role has a proxy in front of each server.

    `launch` starts the command with these additional environment variables, and returns its
    process. An actor with `finishes` is done when its process ends with exit code 0.
    """

    def __init__(
        self,
        name: str,
        role: str,
        launch: Callable[[Mapping[str, str]], Process],
        journal: Journal,
        *,
        proxies: Sequence[Proxy] = (),
        finishes: bool = False,
    ) -> None:
        self.name = name
        self.role = role
        self.proxies = proxies
        self._launch = launch
        self._journal = journal
        self._finishes = finishes
        self._claim = threading.Lock()
        self._lock = threading.Lock()
        # Everything below is guarded by this lock.
        self.exit_codes: dict[int, int | None] = {}
        """How its earlier processes ended, by pid."""
        self._process: Process | None = None
        self._why: str | None = None
        self._rest = REST
        self._due: float | None = None
        self._failpoint: str | None = None

    # --- its lives ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start its first process."""
        with self._lock:
            self._start()

    def adopt(self, process: Process) -> None:
        """Take over its first process, which was started elsewhere."""
        with self._lock:
            self._process = process
            self._note("started", process.pid, None)

    def attend(self) -> None:
        """Note an end, and start the next process when it is due. Call it continually."""
        with self._lock:
            if self._process is not None and not self._process.alive:
                self._ended(self._process)
            if self._due is not None and time.monotonic() >= self._due:
                with contextlib.suppress(PortTaken):  # the next look tries again
                    self._start()

    @property
    def alive(self) -> bool:
        """Whether its process is running; a paused one counts."""
        process = self._process
        return process is not None and process.alive

    @property
    def done(self) -> bool:
        """Whether it has ended for good."""
        with self._lock:
            return self._process is None and self._due is None

    @property
    def pid(self) -> int | None:
        """The pid of its process; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.alive else None

    @property
    def paused(self) -> bool:
        """Whether its process was stopped by a signal."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    # --- what is done to it ------------------------------------------------------------------

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other faults away from it. Raises Busy."""
        if not self._claim.acquire(timeout=CLAIM_PATIENCE):
            raise Busy(f"{self.name} is still struck by another fault")
        try:
            yield
        finally:
            self._claim.release()

    def kill(self, why: str, rest: float) -> None:
        """Kill its process; the next is started after `rest` seconds."""
        self._blame(why, rest).kill()

    def terminate(self, why: str, rest: float = REST, failpoint: str | None = None) -> None:
        """Ask its process to end; the next is started after `rest` seconds.

        `failpoint` is what the next process is to do to itself (MWCTL_FAILPOINT).
        """
        process = self._blame(why, rest)
        self._failpoint = failpoint
        process.terminate()

    def pause(self) -> None:
        """Suspend its process."""
        self._running().pause()

    def resume(self) -> None:
        """Resume its process, if it was paused."""
        process = self._process
        if process is not None and process.alive:
            process.resume()

    def wait(self, deadline: float) -> None:
        """Wait for its process to end, and kill it after `deadline` seconds."""
        process = self._process
        if process is not None:
            try:
                process.wait(deadline)
            except TimeoutError:
                process.kill()

    def _blame(self, why: str, rest: float) -> Process:
        with self._lock:
            self._why, self._rest = why, rest
            return self._running()

    def _running(self) -> Process:
        if self._process is None:
            raise Busy(f"{self.name} does not run")
        return self._process

    def _start(self) -> None:
        self._process = self._launch({VARIABLE: self._failpoint} if self._failpoint else {})
        self._due = None
        self._note("started", self._process.pid, None)
        self._rest = REST
        if not self._failpoint:
            self._why = None
        self._failpoint = None

    def _ended(self, process: Process) -> None:
        code = self.exit_codes[process.pid] = process.exit_code
        self._note("ended", process.pid, code)
        self._process = None
        if not (self._finishes and code == 0):
            self._due = time.monotonic() + self._rest

    def _note(self, event: str, pid: int, exit_code: int | None) -> None:
        self._journal.write(
            {
                "at": time.time(),
                "name": self.name,
                "role": self.role,
                "pid": pid,
                "event": event,
                "exit_code": exit_code,
                "why": self._why,
            }
        )

    # --- on its wire -------------------------------------------------------------------------

    @property
    def session(self) -> tuple[int, bytes] | None:
        """The id and the password of its latest session."""
        granted = [proxy.session for proxy in self.proxies if proxy.session is not None]
        return max(granted)[1:] if granted else None

    def heal(self) -> None:
        """Undo everything that faults may have left behind."""
        self.resume()
        for proxy in self.proxies:
            proxy.delay(0.0)
            proxy.release()
            proxy.rules.clear()
