"""The client's background thread: it carries submissions out and results back.

It sends submissions in batches, learns of results by one watch on the client's own folder, reads
them in bulk, hands them over, and only then deletes them. When its session is lost it starts a new
one and goes on: nothing of a client's hangs on a session.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from ..words import paths
from ..words.errors import (
    ClientClosed,
    ConnectionLost,
    MasterworkerError,
    NotAuthorized,
    NotFound,
    SessionLost,
    TaskFailed,
    Unavailable,
)
from ..words.login import Login
from ..words.model import Reason
from ..zookeeper.inspection import Inspection
from ..zookeeper.operations import Unreadable, size
from ..zookeeper.session import Session
from ..zookeeper.watched import Listing
from .account import Account, Submission
from .future import TaskFuture

log = logging.getLogger(__name__)

LOOK_INTERVAL: Final = 30.0
"""Seconds between looks at the folder even though no watch told of a change."""


class Courier:
    """One thread, one account, one session after the other.

    A status is deleted once its result was handed over, or, with `keep`, once it was acknowledged.
    `unsent` is how many bytes of submissions were not accepted yet; `progress` is notified when
    that changes and when the courier ends. `owner` is who we are in access lists, if there are any.
    """

    def __init__(
        self, hosts: str, login: Login, session_timeout: float, *, keep: bool = False
    ) -> None:
        self._keep = keep
        self._acknowledged: deque[int] = deque()
        self.account = Account(self._settled)
        self.progress = threading.Condition()
        self.unsent = 0
        self.owner = ""
        self._hosts = hosts
        self._login = login
        self._session_timeout = session_timeout
        self._wake = threading.Event()
        self._inbox: deque[Submission] = deque()
        self._waiting: dict[int, TaskFuture] = {}
        self._removed = (1, 0)
        """The account's openings and expired statuses when the futures were last gone through."""
        self._next_look = time.monotonic() + LOOK_INTERVAL
        self._closing = False
        self._failure: MasterworkerError | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"masterworker-client-{self.account.client}", daemon=True
        )
        self._first_session = self._new_session()

    # --- called from other threads -----------------------------------------------------------

    def start(self, connect_timeout: float) -> None:
        """Connect and begin. Raises Unavailable and NotAuthorized."""
        self._first_session.start(connect_timeout)
        self.owner = "".join(self._first_session.me)
        self._thread.start()

    def post(self, submissions: Iterable[Submission]) -> None:
        """Hand over submissions to be sent. Raises what ended the courier, if something did."""
        submissions = list(submissions)
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self.unsent += sum(size(submission.create) for submission in submissions)
            self._inbox.extend(submissions)
        self._wake.set()

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """These results are safe with whoever asked for them: their statuses may go."""
        self._acknowledged.extend(numbers)
        self._wake.set()

    def wait_until_unsent(self, most: int, timeout: float | None) -> bool:
        """Wait until at most `most` bytes are unsent; whether that came to be within `timeout`.

        The courier's own thread, which runs the callbacks of futures, is never made to wait.
        """
        if threading.current_thread() is self._thread:
            return True
        with self.progress:
            met = self.progress.wait_for(
                lambda: self.unsent <= most or self._failure is not None, timeout
            )
            if self._failure is not None and self.unsent > most:
                raise self._failure
        return met

    def close(self, timeout: float) -> None:
        """Send what is unsent, stop, and end the futures still waiting with ClientClosed."""
        self._closing = True
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
            if self._thread.is_alive():
                self._end(ClientClosed(f"closed with {self.unsent:,} bytes not accepted yet"))
                self._wake.set()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        session: Session | None = self._first_session
        failure: MasterworkerError = ClientClosed(
            "the client was closed before the task's status arrived; the task itself goes on: "
            "see `mwctl tasks show` and `mwctl tasks result`"
        )
        try:
            while not self._done():
                session = session or self._connect()
                if session is not None:
                    self._serve(session)
                    session.close()
                    session = None
        except MasterworkerError as error:
            log.error("the client ends: %s", error)
            failure = error
        except Exception as error:
            log.exception("the client's thread ends by a defect")
            failure = MasterworkerError(f"the client's thread ended by a defect: {error!r}")
        finally:
            if session is not None:
                session.close()
            self._end(failure)

    def _done(self) -> bool:
        return self._failure is not None or (
            self._closing and not self._inbox and not self._acknowledged and not self.account.busy
        )

    def _connect(self) -> Session | None:
        session = self._new_session()
        try:
            session.start()
        except Unavailable as error:
            log.warning("%s", error)
            return None
        return session

    def _serve(self, session: Session) -> None:
        """Work with one session until it is lost or the work is done."""
        folder = Listing(session, self.account.folder)
        self.account.doubt()
        opened = False
        while not self._done() and not session.lost:
            self._wake.clear()
            try:
                if not opened:
                    session.catch_up()
                    session.ensure_tree()
                    opened = True
                if session.connected:
                    self._step(session, folder)
            except ConnectionLost as error:
                log.info("%s; going on when it is back", error)
                self.account.doubt()
                folder.stale = True
            except SessionLost as error:
                log.info("%s; starting a new one", error)
                return
            self._rest(session, folder)

    def _step(self, session: Session, folder: Listing) -> None:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_INTERVAL
            if self._waiting:
                folder.stale = True
            if not self.account.busy:
                self.account.doubt()
        while self._inbox:
            submission = self._inbox.popleft()
            self._waiting[submission.number] = submission.future
            self.account.submissions.append(submission)
        while self._acknowledged:
            self.account.taken.append(self._acknowledged.popleft())
        self.account.pump(session)
        if folder.stale and self._waiting:
            self._collect(session, folder)
        removed = (self.account.openings, self.account.expired)
        if removed != self._removed:
            self._give_up_expired(session)
            self._removed = removed
            folder.stale = True  # it may be another one, with no watch on it

    def _give_up_expired(self, session: Session) -> None:
        """End the futures whose status was removed unread, while we were away for too long."""
        inspection = Inspection(session)
        accepted = [number for number in self._waiting if self.account.is_accepted(number)]
        for number in accepted:
            future = self._waiting[number]
            try:
                inspection.task(future.task_id)
            except NotFound:
                future.fail(TaskFailed(future.task_id, Reason.EXPIRED.value))
                del self._waiting[number]

    def _rest(self, session: Session, folder: Listing) -> None:
        """Wait until there is something to do."""
        waiting = self._inbox or self._acknowledged
        at_work = waiting or self.account.busy or (folder.stale and self._waiting)
        if self._done() or (at_work and session.connected):
            return
        # Without a connection there is nothing to look at; its return sets the wake.
        left = self._next_look - time.monotonic() if session.connected else LOOK_INTERVAL
        self._wake.wait(max(0.0, left))

    def _collect(self, session: Session, folder: Listing) -> None:
        """Hand over the results that are there; their statuses are deleted afterwards."""
        names = [name for name in folder.read() or [] if paths.is_number(name)]
        ready = [f"{folder.path}/{name}" for name in names if int(name) in self._waiting]
        for path, found in session.read_each(ready):
            if found is None:
                continue
            number = int(path.rpartition("/")[2])
            future = self._waiting.pop(number)
            if isinstance(found, Unreadable):
                future.fail(NotAuthorized(f"{path} cannot be read: check its ACL"))
                continue
            if future.settle(found.data) and not self._keep:
                self.account.taken.append(number)

    def _settled(self, submissions: list[Submission]) -> None:
        for submission in submissions:
            if submission.future.done():
                self._waiting.pop(submission.number, None)
        with self.progress:
            self.unsent -= sum(size(submission.create) for submission in submissions)
            self.progress.notify_all()

    def _end(self, failure: MasterworkerError) -> None:
        with self.progress:
            self._failure = self._failure or failure
            self.progress.notify_all()
        for future in list(self._waiting.values()):
            future.fail(failure)
        for submission in list(self._inbox):
            submission.future.fail(failure)

    def _new_session(self) -> Session:
        return Session(
            self._hosts, login=self._login, timeout=self._session_timeout, wake=self._wake
        )
