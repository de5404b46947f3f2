"""The client's background thread: it sends submissions and fetches results.

It sends submissions in batches, learns of results by one watch on the client's own folder, reads
them in bulk, hands them over, and only then deletes them. When its session is lost it starts a new
one and continues: no state of a client depends on a session.
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
    SessionLost,
    TaskFailed,
    Unavailable,
)
from ..words.login import Login
from ..words.model import Reason
from ..zookeeper import tree
from ..zookeeper.operations import Unreadable, size
from ..zookeeper.session import Session
from ..zookeeper.watched import Listing
from ..zookeeper.whereabouts import Search
from . import forking
from .account import Account, Submission
from .attached import Attachments
from .future import AttachedFuture, TaskFuture

log = logging.getLogger(__name__)

LOOK_INTERVAL: Final = 30.0
"""Seconds between checks of the folder even if no watch reported a change."""

LEAVING: Final = 0.5
"""Seconds that `close` waits for the thread once nothing is left to send: from then on the thread
can only be waiting for a ZooKeeper that does not answer."""

ENDING: Final = 0.2
"""Seconds that `close` waits for users' callbacks, if the thread itself cannot call them."""


class Courier:
    """One thread and one account, over any number of sessions.

    A status is deleted after its result was handed over or, with `keep`, after it was acknowledged.
    `unsent` is the number of bytes of submissions not accepted yet; `progress` is notified when it
    changes and when the courier ends. `owner` is this process's identity, if the tree has ACLs.
    """

    def __init__(
        self, hosts: str, login: Login, session_timeout: float, *, keep: bool = False
    ) -> None:
        self._process = forking.process
        self._keep = keep
        self._acknowledged: deque[int] = deque()
        self.account = Account(self._settled, self._sending)
        self.progress = threading.Condition()
        self.unsent = 0
        self.owner = ""
        self._hosts = hosts
        self._login = login
        self._session_timeout = session_timeout
        self._wake = threading.Event()
        self._inbox: deque[Submission] = deque()
        self._unaccepted: dict[int, bool] = {}
        """Tasks not known to have been accepted or refused; the value says whether it was sent."""
        self._waiting: dict[int, TaskFuture] = {}
        self._attachments = Attachments()
        self._removed = (1, 0)
        """The account's openings and expired statuses at the last search for lost futures."""
        self._sought: deque[str] = deque()
        """Tasks to search for, because they may have expired."""
        self._next_look = time.monotonic() + LOOK_INTERVAL
        self._delivering = False
        """Whether the thread is handing over a result, and may be in a user's callback."""
        self._closing = False
        self._failure: MasterworkerError | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"masterworker-client-{self.account.client}", daemon=True
        )
        self._first_session = self._new_session()

    # --- called from other threads -----------------------------------------------------------

    def start(self, connect_timeout: float) -> None:
        """Connect and start. Raises Unavailable, also if there is no cluster, and NotAuthorized."""
        try:
            self._first_session.start(connect_timeout)
            tree.require(self._first_session)
        except BaseException:  # also Ctrl-C: otherwise kazoo's threads keep trying to connect
            self._first_session.close(timeout=0.5)
            raise
        self.owner = "".join(self._first_session.me)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """Whether this process is not the one that created it."""
        return self._process != forking.process

    def check(self) -> None:
        """Raise ClientForked in a forked process, where locks may be held forever."""
        if self.forked:
            raise forking.forked("this Client", self._process)

    def post(self, submissions: Iterable[Submission]) -> None:
        """Queue submissions to be sent. Raises the error that ended the courier, if any."""
        submissions = list(submissions)
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self.unsent += sum(size(submission.create) for submission in submissions)
            self._unaccepted.update((submission.number, False) for submission in submissions)
            self._inbox.extend(submissions)
        self._wake.set()

    def attach(self, futures: Iterable[AttachedFuture]) -> None:
        """Watch tasks of other clients. Raises the error that ended the courier, if any."""
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self._attachments.add(futures)
        self._wake.set()

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Release the statuses of these results, which the program has received."""
        self._acknowledged.extend(numbers)
        self._wake.set()

    def unconfirmed(self) -> list[int]:
        """The tasks that were sent and are not known to have been accepted or refused."""
        with self.progress:
            return sorted(number for number, sent in self._unaccepted.items() if sent)

    def wait_until_unsent(self, most: int, timeout: float | None) -> bool:
        """Wait until at most `most` bytes are unsent; return whether that happened in time.

        The courier's own thread, which runs the callbacks of futures, never waits here.
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
        """Send what is unsent within `timeout` seconds, stop, and end the waiting futures.

        If the thread is waiting for an answer from ZooKeeper, it is left to end on its own.
        """
        self._closing = True
        self._wake.set()
        if threading.current_thread() is self._thread:
            return
        try:
            with self.progress:
                self.progress.wait_for(
                    lambda: (
                        self._failure is not None or not (self._to_be_written or self._delivering)
                    ),
                    timeout,
                )
            self._thread.join(LEAVING)
        finally:
            if self._thread.is_alive():
                self._fail(ClientClosed("the client was closed"))
                self._wake.set()
                # Not on this thread: users' callbacks may take long, or raise.
                ender = threading.Thread(target=self._end, name="end-futures", daemon=True)
                ender.start()
                ender.join(ENDING)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        session: Session | None = self._first_session
        failure: MasterworkerError = ClientClosed("the client was closed")
        try:
            while not self._done():
                session = session or self._connect()
                if session is not None:
                    self._serve(session)
                    if not self._done():
                        session.close()
                        session = None
        except MasterworkerError as error:
            if error is not self._failure:
                log.error("the client has stopped: %s", error)
            failure = error
        except Exception as error:
            log.exception("the client's thread stopped because of a bug in masterworker")
            failure = MasterworkerError(f"a bug stopped the client's thread: {error!r:.500}")
        except BaseException:  # threads ignore SystemExit silently
            log.exception("the client's thread stopped")
            raise
        finally:
            self._fail(failure)
            self._end()
            if session is not None:
                session.close()

    @property
    def _to_be_written(self) -> bool:
        return bool(self._inbox or self._acknowledged or self.account.busy)

    def _done(self) -> bool:
        return self._failure is not None or (self._closing and not self._to_be_written)

    def _connect(self) -> Session | None:
        session = self._new_session()
        try:
            session.start()
        except Unavailable as error:
            log.warning("%s", error)
            return None
        return session

    def _serve(self, session: Session) -> None:
        """Use one session until it is lost or the work is done."""
        folder = Listing(session, self.account.folder)
        self._attachments.use(session)
        self.account.doubt()
        opened = False
        while not self._done() and not session.lost:
            self._wake.clear()
            try:
                if not opened:
                    session.catch_up()
                    opened = True
                if session.connected:
                    self._step(session, folder)
            except ConnectionLost as error:
                log.info("%s; continuing once it is back", error)
                self.account.doubt()
                folder.stale = True
                self._attachments.mistrust()
            except SessionLost as error:
                log.info("%s; starting a new session", error)
                return
            self._rest(session, folder)

    def _step(self, session: Session, folder: Listing) -> None:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_INTERVAL
            if self._waiting:
                folder.stale = True
            self._attachments.mistrust()
            if not self.account.busy:
                self.account.doubt()
        while self._inbox:
            submission = self._inbox[0]
            # It stays in the inbox until it is here, so that `_end` never misses it.
            self._waiting[submission.number] = submission.future
            self.account.submissions.append(submission)
            self._inbox.popleft()
        while self._acknowledged:
            self.account.taken.append(self._acknowledged.popleft())
        self.account.pump(session)
        if folder.stale and self._waiting:
            self._collect(session, folder)
        removed = (self.account.openings, self.account.expired)
        if removed != self._removed:
            self._sought = deque(
                future.task_id
                for number, future in self._waiting.items()
                if self.is_accepted(number)
            )
            self._removed = removed
            folder.stale = True  # it may have been recreated, without a watch
        if self._sought:
            self._give_up_expired(session)
        self._attachments.step()

    def is_accepted(self, number: int) -> bool:
        """Whether a task that was submitted is known to have been accepted, or refused."""
        return number not in self._unaccepted

    def _give_up_expired(self, session: Session) -> None:
        """End futures whose status was removed unread while this client was disconnected.

        Each call checks as many as fit into one request, so that arriving results need not wait for
        the rest.
        """
        for task in Search(session).missing(self._sought):
            future = self._waiting.pop(paths.split_task(task)[1], None)
            if future is not None:
                future.fail(TaskFailed(task, Reason.EXPIRED.value))

    def _rest(self, session: Session, folder: Listing) -> None:
        """Wait until there is work to do."""
        at_work = self._to_be_written or self._sought or (folder.stale and self._waiting)
        if self._done() or (at_work and session.connected):
            return
        # Without a connection there is nothing to read; reconnecting sets the wake.
        left = LOOK_INTERVAL
        if session.connected:
            left = min(self._next_look, self._attachments.next_step()) - time.monotonic()
        self._wake.wait(max(0.0, left))

    def _collect(self, session: Session, folder: Listing) -> None:
        """Hand over the results that have arrived; their statuses are deleted afterwards."""
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
            self._delivering = True
            try:
                if future.settle(found.data) and not self._keep:
                    self.account.taken.append(number)
            finally:
                self._delivering = False

    def _sending(self, submissions: list[Submission]) -> None:
        """Note what is about to be sent. Raises the error that ended the courier, if any."""
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self._unaccepted.update((submission.number, True) for submission in submissions)

    def _settled(self, submissions: list[Submission]) -> None:
        for submission in submissions:
            if submission.future.done():
                self._waiting.pop(submission.number, None)
        with self.progress:
            self.unsent -= sum(size(submission.create) for submission in submissions)
            for submission in submissions:
                self._unaccepted.pop(submission.number, None)
            self.progress.notify_all()

    # --- end -----------------------------------------------------------------------------------

    def _fail(self, failure: MasterworkerError) -> None:
        """Stop taking and sending submissions; the first failure is the reason that is kept."""
        with self.progress:
            self._failure = self._failure or failure
            self.progress.notify_all()

    def _end(self) -> None:
        """End all waiting futures, each with the best knowledge of its task."""
        failure = self._failure or ClientClosed("the client was closed")
        unsent = [(one.number, one.future) for one in list(self._inbox)]
        # In this order, since the thread may be moving them at this moment.
        for number, future in [*unsent, *list(self._waiting.items())]:
            future.fail(self._fate(number, future, failure))
        self._attachments.end(
            ClientClosed("the client was closed before the task had a status", True)
            if isinstance(failure, ClientClosed)
            else failure
        )

    def _fate(
        self, number: int, future: TaskFuture, failure: MasterworkerError
    ) -> MasterworkerError:
        """The error for a future that ends without a status."""
        if not isinstance(failure, ClientClosed):
            return failure
        task = future.task_id
        sent = self._unaccepted.get(number)
        if sent is None:
            return ClientClosed(
                f"the client was closed before the status of task {task} arrived; the task itself "
                f"goes on: see `mwctl tasks show {task}` and `mwctl tasks result {task}`",
                accepted=True,
            )
        if sent:
            return ClientClosed(
                f"the client was closed before ZooKeeper answered: it is unknown whether task "
                f"{task} was accepted; check with `mwctl tasks show {task}`"
            )
        return ClientClosed(
            f"the client was closed before task {task} was sent: it was not accepted and will not "
            "run; submit it again",
            accepted=False,
        )

    def _new_session(self) -> Session:
        return Session(
            self._hosts, login=self._login, timeout=self._session_timeout, wake=self._wake
        )
