"""The worker: lives one incarnation after another, and leaves in order when asked to.

connect --> register --> rounds --> drain --> leave
   ^____________________|  the session is lost: attempts stop, a new incarnation begins
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .. import __version__
from ..words import limits
from ..words.errors import BadConfiguration, ConnectionLost, SessionLost, Unavailable
from ..words.executor import Executor
from ..words.model import Worker as WorkerRecord
from ..words.paths import check_name
from ..zookeeper.failpoints import failpoint
from ..zookeeper.session import DEFAULT_TIMEOUT, Session
from .crew import Crew
from .incarnation import Incarnation

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 5.0
"""Seconds beyond its grace that a worker tries to leave in order."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What an operator can set. Times are seconds.

    `slots` is the number of tasks held at a time, None for one per processor plus, if there are
    inline executors, limits.INLINE_SLOTS for those. `grace` is how long running attempts may go on
    after stop(). `configs` are the executors' tables of the configuration file `file`.
    """

    name: str = field(default_factory=lambda: socket.gethostname()[:100])
    slots: int | None = None
    session_timeout: float = DEFAULT_TIMEOUT
    grace: float = 30.0
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None


class Worker:
    """A worker process that offers `executors`, by name."""

    def __init__(
        self, hosts: str, executors: Mapping[str, Executor], settings: WorkerSettings | None = None
    ) -> None:
        """Raises BadConfiguration for a name, a number of slots or a configuration that is none."""
        self._hosts = hosts
        self._executors = executors
        self._settings = settings or WorkerSettings()
        check_name(self._settings.name, "worker's name")
        self._announcement = _announcement(executors, self._settings)
        self._wake = threading.Event()
        self._stopping = False
        self._cold = False
        self._crew = Crew(
            executors,
            self._announcement.process_slots,
            self._wake,
            self._settings.configs,
            self._settings.file,
        )

    def stop(self) -> None:
        """Drain and return from run(); called again: at once. Safe in a signal handler."""
        self._cold = self._stopping
        self._stopping = True
        self._wake.set()

    @property
    def stopped_cold(self) -> bool:
        """Whether stop() was called twice, so that nothing was handed back."""
        return self._cold

    def run(self) -> None:
        """Serve until stop(). Raises Unavailable if ZooKeeper cannot be reached at the start."""
        started = False
        try:
            while not self._stopping:
                session = Session(
                    self._hosts, timeout=self._settings.session_timeout, wake=self._wake
                )
                try:
                    session.start()
                    started = True
                    self._live(session)
                except SessionLost as error:
                    log.warning("this incarnation is over, starting another: %s", error)
                except Unavailable as error:
                    if not started:
                        raise
                    log.warning("%s", error)
                finally:
                    self._crew.stop_all()
                    session.close()
        finally:
            self._crew.close()

    def _live(self, session: Session) -> None:
        """One incarnation, until its session is lost or the worker has left."""
        incarnation = Incarnation(
            session, self._crew, self._executors, self._settings.name, self._announcement
        )
        registered = False
        while not self._stopping:
            self._wake.clear()
            try:
                if not registered:
                    incarnation.register()
                    registered = True
                    failpoint("worker.registered")
                self._round(session, incarnation)
            except ConnectionLost as error:
                log.warning("%s", error)
        if registered and not self._cold:
            self._drain(session, incarnation)

    def _round(self, session: Session, incarnation: Incarnation, due: float = float("inf")) -> None:
        next_beat = incarnation.beat()
        if session.lost:
            raise SessionLost(f"the session of worker {incarnation.id} is over")
        if session.connected or incarnation.silent:
            incarnation.round()
        self._wake.wait(max(0.0, min(next_beat, due) - time.monotonic()))

    def _drain(self, session: Session, incarnation: Incarnation) -> None:
        """Hand back what has not begun, give the rest its time, and leave."""
        log.info("worker %s drains", incarnation.id)
        deadline = time.monotonic() + self._settings.grace
        begun = False
        while not self._cold:
            self._wake.clear()
            try:
                if not begun:
                    incarnation.drain()
                    begun = True
                due = deadline
                if time.monotonic() >= deadline:
                    incarnation.hand_back_all()
                    due += LEAVE_SECONDS
                left = incarnation.idle and incarnation.leave()
                if left or time.monotonic() >= deadline + LEAVE_SECONDS:
                    log.info("worker %s has left", incarnation.id)
                    return
                self._round(session, incarnation, due)
            except ConnectionLost as error:
                log.warning("%s", error)


def _announcement(executors: Mapping[str, Executor], settings: WorkerSettings) -> WorkerRecord:
    if not executors or len(executors) > limits.MAX_EXECUTORS:
        raise BadConfiguration(
            f"{len(executors)} executors: a worker offers 1 to {limits.MAX_EXECUTORS}"
        )
    slots = process_slots = settings.slots or os.cpu_count() or 1
    if not 1 <= slots <= limits.MAX_SLOTS:
        raise BadConfiguration(f"{slots} slots: a worker can have 1 to {limits.MAX_SLOTS}")
    if settings.slots is None and any(executor.inline for executor in executors.values()):
        slots += limits.INLINE_SLOTS
    return WorkerRecord(
        executors={name: executor.inline for name, executor in executors.items()},
        slots=slots,
        process_slots=process_slots,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        started=time.time(),
    )
