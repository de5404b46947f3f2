"""The master: runs for election; as the primary it repeats a loop of survey, plan, move, clean.

    connect --> stand by --> primary: survey, plan, move, clean --> ...
       ^ |___________________________________________|
         the session is lost, or another master was elected

One thread does all the work. Watches and signals only wake it; it acts on what it reads then.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from .. import __version__
from ..decisions.plan import plan
from ..words import limits
from ..words.errors import ConnectionLost, Fenced, SessionLost, Unavailable
from ..words.login import Login
from ..words.model import Master as MasterRecord
from ..words.paths import name_of_host
from ..zookeeper.cleaner import Cleaner
from ..zookeeper.election import Election
from ..zookeeper.failpoints import failpoint
from ..zookeeper.moves import Mover
from ..zookeeper.session import DEFAULT_TIMEOUT, Session
from ..zookeeper.survey import Survey

log = logging.getLogger(__name__)

SWEEP_SLICE: Final = 0.05
"""Seconds of a round that housekeeping may take; it ends sooner if something wakes the loop."""


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """The operator's settings. Times are seconds.

    `login` is what is presented to ZooKeeper. `status_ttl` is the minimum time an unread status is
    kept, `folder_ttl` the minimum time the settled ledger of a client that may be gone is kept, and
    `look_interval` the time between full reads of the tree even if no watch reported a change.
    """

    session_timeout: float = DEFAULT_TIMEOUT
    login: Login = field(default_factory=Login)
    status_ttl: float = 24 * 3600.0
    folder_ttl: float = 3600.0
    look_interval: float = 30.0


class Master:
    """A master process: primary or backup."""

    def __init__(self, hosts: str, settings: MasterSettings | None = None) -> None:
        self._hosts = hosts
        self._settings = settings or MasterSettings()
        self._wake = threading.Event()
        self._stopping = False

    def stop(self) -> None:
        """Make run() step down at once and return. Safe in a signal handler."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Serve until stop(). Raises Unavailable if ZooKeeper cannot be reached at the start."""
        started = False
        while not self._stopping:
            session = Session(
                self._hosts,
                login=self._settings.login,
                timeout=self._settings.session_timeout,
                wake=self._wake,
            )
            try:
                session.start()
                started = True
                self._serve(session)
            except (SessionLost, Fenced) as error:
                log.warning("no longer the primary, starting again: %s", error)
            except Unavailable as error:
                if not started:
                    raise
                log.warning("%s", error)
            finally:
                session.close()

    def _serve(self, session: Session) -> None:
        """Run for election with one session for as long as it lives."""
        host = socket.gethostname()
        me = MasterRecord(
            id=f"{name_of_host(host)}-{secrets.token_hex(4)}",
            host=limits.printable(host),
            pid=os.getpid(),
            version=__version__,
            started=time.time(),
        )
        election = Election(session, me)
        announced = False
        while not self._stopping:
            self._wake.clear()
            try:
                if not announced:
                    session.ensure_tree()
                    election.announce()
                    announced = True
                    log.info("master %s stands by", me.id)
                epoch = election.run()
                if epoch is not None:
                    log.info("master %s is the primary, epoch %d", me.id, epoch)
                    _Term(session, election, epoch, self._settings).serve(self)
                    election.leave(epoch)
                    return
            except ConnectionLost as error:
                log.warning("%s", error)
            self.pause(session, None if election.office_changed else self._settings.look_interval)

    @property
    def stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping

    def pause(self, session: Session, seconds: float | None) -> None:
        """Wait to be woken, at most `seconds` (None: do not wait), or until reconnected.
        Raises SessionLost when the session is over.
        """
        while not session.connected and not session.lost and not self._stopping:
            self._wake.wait(self._settings.look_interval)
            self._wake.clear()
            seconds = None
        if session.lost:
            raise SessionLost(f"the session with {session.hosts} is over")
        if seconds is not None and seconds > 0 and not self._stopping:
            self._wake.wait(seconds)


class _Term:
    """One term as primary, under one epoch."""

    def __init__(
        self, session: Session, election: Election, epoch: int, settings: MasterSettings
    ) -> None:
        self._session = session
        self._election = election
        self._epoch = epoch
        self._settings = settings
        self._survey = Survey(session)
        self._mover = Mover(session, self._survey, epoch)
        self._cleaner = Cleaner(
            session,
            self._survey,
            epoch,
            status_ttl=settings.status_ttl,
            folder_ttl=settings.folder_ttl,
            grace=max(10.0, session.timeout),
        )
        self._sweep_interval = min(
            60.0, max(0.2, min(settings.status_ttl, settings.folder_ttl) / 10)
        )
        self._next_sweep = 0.0
        self._next_full_look = time.monotonic() + settings.look_interval

    def serve(self, master: Master) -> None:
        """Serve until the master is stopped. Raises Fenced and SessionLost at the term's end."""
        failpoint("master.in-office")
        while not master.stopping:
            master._wake.clear()
            try:
                overtaken = self._round(master._wake)
                pause = 0.0 if overtaken else self._until_next()
            except ConnectionLost as error:
                log.warning("%s", error)
                self._survey.doubt()
                pause = None
            master.pause(self._session, pause)

    def _round(self, wake: threading.Event) -> bool:
        """Read, plan and carry out; return whether the plan was overtaken, so that another is due.

        This terminates, because each refused move removes something from the next plan.
        """
        overtaken = False
        if self._election.office_changed and self._election.run() != self._epoch:
            raise Fenced(f"epoch {self._epoch} is over: another master was elected")
        now = time.monotonic()
        if now >= self._next_full_look:
            self._survey.doubt()
            self._next_full_look = now + self._settings.look_interval
        self._survey.refresh()
        failpoint("master.planned")
        moves = plan(self._survey.snapshot(), time.time())
        if moves:
            failpoint("master.before-moves")
            summary = self._mover.carry_out(moves)
            failpoint("master.after-moves")
            log.debug("carried out %s", summary)
            overtaken = summary.overtaken > 0
        self._cleaner.mend_folders()
        due = now >= self._next_sweep or self._cleaner.is_sweeping
        if due and self._cleaner.work(SWEEP_SLICE, wake.is_set):
            failpoint("master.swept")
            self._next_sweep = time.monotonic() + self._sweep_interval
        return overtaken

    def _until_next(self) -> float:
        """Seconds until work is due even if no watch fires."""
        if self._cleaner.is_sweeping:
            return 0.0
        due = min(self._next_full_look, self._next_sweep)
        put_off = self._survey.next_look()
        if put_off is not None:
            due = min(due, put_off)
        return max(0.0, due - time.monotonic())
