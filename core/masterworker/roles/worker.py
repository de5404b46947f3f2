"""The worker: runs one incarnation after another, and shuts down in order when asked to.

connect --> register --> rounds --> drain --> leave
   ^____________________|  the session is lost: attempts stop, a new incarnation starts
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
from ..execution.sandbox import Sandbox
from ..words import limits
from ..words.errors import BadConfiguration, ConnectionLost, SessionLost, Unavailable
from ..words.executor import Offered
from ..words.login import Login
from ..words.model import Worker as WorkerRecord
from ..words.paths import check_name, name_of_host
from ..words.sealing import Keys
from ..zookeeper.failpoints import failpoint
from ..zookeeper.session import DEFAULT_TIMEOUT, Session
from .crew import Crew
from .incarnation import Incarnation

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 5.0
"""Seconds beyond the grace period that a worker may take to shut down in order."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The operator's settings. Times are seconds.

    `slots` is the number of tasks held at a time; None stands for one per processor plus, if there
    are inline executors, limits.INLINE_SLOTS for those. `login` is what is presented to ZooKeeper.
    `grace` is how long running attempts may continue after stop(). `configs` are the executors'
    tables of the configuration file `file`. `sandbox` restricts executors in child processes.
    `keys` open sealed tasks; a worker without keys gets none of those.
    """

    name: str = field(default_factory=lambda: name_of_host(socket.gethostname()))
    slots: int | None = None
    session_timeout: float = DEFAULT_TIMEOUT
    login: Login = field(default_factory=Login)
    grace: float = 30.0
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None
    sandbox: Sandbox = field(default_factory=Sandbox)
    keys: Keys | None = None


class Worker:
    """A worker process that offers `executors`, by name."""

    def __init__(
        self, hosts: str, executors: Mapping[str, Offered], settings: WorkerSettings | None = None
    ) -> None:
        """Raises BadConfiguration for an invalid name, number of slots or configuration."""
        self._hosts = hosts
        self._executors = executors
        self._settings = settings or WorkerSettings()
        check_name(self._settings.name, "worker's name")
        self._announcement = _announcement(executors, self._settings)
        self._wake = threading.Event()
        self._stops = 0
        self._crew = Crew(
            executors,
            self._announcement.process_slots,
            self._wake,
            self._settings.configs,
            self._settings.file,
            self._settings.sandbox,
        )

    def stop(self) -> None:
        """Drain and return from run(); a second call ends it at once. Safe on any thread."""
        self._stops += 1
        self._wake.set()

    @property
    def stopped_cold(self) -> bool:
        """Whether stop() was called twice, so that nothing was handed back."""
        return self._stops > 1

    def run(self) -> None:
        """Serve until stop(). Raises Unavailable if ZooKeeper cannot be reached at the start."""
        started = False
        with self._crew:
            while not self._stops:
                session = Session(
                    self._hosts,
                    login=self._settings.login,
                    timeout=self._settings.session_timeout,
                    wake=self._wake,
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
                    session.close()

    def _live(self, session: Session) -> None:
        """Run one incarnation, until its session is lost or the worker has left."""
        incarnation = Incarnation(
            session,
            self._crew,
            self._executors,
            self._settings.name,
            self._announcement,
            self._settings.keys,
        )
        try:
            if not self._register(session, incarnation):
                return
            failpoint("worker.registered")
            while not self._stops:
                self._wake.clear()
                self._round(session, incarnation)
                self._rest(session, incarnation.next_look, stops=0)
            if not self.stopped_cold:
                self._drain(session, incarnation)
        finally:
            incarnation.end()

    def _register(self, session: Session, incarnation: Incarnation) -> bool:
        """Register, retrying as needed; False if the worker is stopped meanwhile."""
        while not self._stops:
            self._wake.clear()
            try:
                if session.connected or session.lost:
                    incarnation.register()
                    return True
            except ConnectionLost as error:
                log.warning("%s", error)
            if not session.connected:
                self._rest(session, float("inf"), stops=0)
        return False

    def _round(self, session: Session, incarnation: Incarnation) -> None:
        if session.lost:
            raise SessionLost(f"the session of worker {incarnation.id} is over")
        try:
            if session.connected or incarnation.silent:
                incarnation.round()
        except ConnectionLost as error:
            log.warning("%s", error)

    def _rest(self, session: Session, until: float, stops: int) -> None:
        """Wait to be woken, for a stop beyond `stops`, or until `until`.

        The wake is cleared before the work, so that no event in between is lost. A stop may have
        arrived between the last check and the clearing, so it is checked once more.
        """
        if self._stops <= stops and not session.lost:
            self._wake.wait(min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))

    def _drain(self, session: Session, incarnation: Incarnation) -> None:
        """Hand back tasks not started, let the others finish within the grace period, and leave."""
        log.info("worker %s is draining", incarnation.id)
        deadline = time.monotonic() + self._settings.grace
        begun = False
        while not self.stopped_cold:
            self._wake.clear()
            now = time.monotonic()
            try:
                if session.connected and not begun:
                    incarnation.drain()
                    begun = True
                if session.connected and now >= deadline:
                    incarnation.hand_back_all()
                self._round(session, incarnation)
                if session.connected and incarnation.idle and incarnation.leave():
                    log.info("worker %s has left", incarnation.id)
                    return
            except ConnectionLost as error:
                log.warning("%s", error)
            if now >= deadline + LEAVE_SECONDS:
                log.warning("worker %s leaves tasks behind, to be recovered", incarnation.id)
                return
            due = deadline if now < deadline else deadline + LEAVE_SECONDS
            self._rest(session, min(due, incarnation.next_look), stops=1)


def _announcement(executors: Mapping[str, Offered], settings: WorkerSettings) -> WorkerRecord:
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
        host=limits.printable(socket.gethostname()),
        pid=os.getpid(),
        version=__version__,
        started=time.time(),
        keys=settings.keys.ids if settings.keys else (),
    )
