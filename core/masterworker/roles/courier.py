"""The client's background thread: it carries submissions out and results back.

It sends submissions in batches, learns of results by one watch on the client's own folder, reads
them in bulk, hands them over, and only then deletes them. When its session is lost it starts a new
one and goes on: nothing that a client has depends on a session.
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
"""Seconds between looks at the folder even though no watch told of a change."""

LEAVING: Final = 0.5
"""Seconds that `close` waits for the thread once there is nothing left to send: then the thread can
only be waiting for a ZooKeeper that does not answer."""

ENDING: Final = 0.2
"""Seconds that `close` waits for users' callbacks, if the thread cannot call them."""


class Courier:
    """One thread, one account, one session after the other.

    A status is deleted once its result was handed over, or, with `keep`, once it was acknowledged.
    `unsent` is how many bytes of submissions were not accepted yet; `progress` is notified when
    that changes and when the courier ends. `owner` is who we are in access lists, if there are any.
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
        """The tasks that are not known to have been accepted or refused; whether they were sent."""
        self._waiting: dict[int, TaskFuture] = {}
        self._attachments = Attachments()
        self._removed = (1, 0)
        """The account's openings and expired statuses when the futures were last gone through."""
        self._sought: deque[str] = deque()
        """Tasks that may have expired, to be looked for."""
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
        """Connect and begin. Raises Unavailable, also where no cluster is, and NotAuthorized."""
        try:
            self._first_session.start(connect_timeout)
            tree.require(self._first_session)
        except BaseException:  # also Ctrl-C: kazoo's threads go on trying otherwise
            self._first_session.close(timeout=0.5)
            raise
        self.owner = "".join(self._first_session.me)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that made it."""
        return self._process != forking.process

    def check(self) -> None:
        """Raise ClientForked in a process forked since. Locks may be held there for ever."""
        if self.forked:
            raise forking.forked("this Client", self._process)

    def post(self, submissions: Iterable[Submission]) -> None:
        """Hand over submissions to be sent. Raises what ended the courier, if something did."""
        submissions = list(submissions)
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self.unsent += sum(size(submission.create) for submission in submissions)
            self._unaccepted.update((submission.number, False) for submission in submissions)
            self._inbox.extend(submissions)
        self._wake.set()

    def attach(self, futures: Iterable[AttachedFuture]) -> None:
        """Watch tasks of other clients. Raises what ended the courier, if something did."""
        with self.progress:
            if self._failure is not None:
                raise self._failure
            self._attachments.add(futures)
        self._wake.set()

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """The program has these results: their statuses may go."""
        self._acknowledged.extend(numbers)
        self._wake.set()

    def unconfirmed(self) -> list[int]:
        """The tasks that were sent, and of which it is not known whether they were accepted."""
        with self.progress:
            return sorted(number for number, sent in self._unaccepted.items() if sent)

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
        """Send what is unsent within `timeout` seconds, stop, and end the futures still waiting.

        The thread may be waiting for an answer of ZooKeeper's; it is left to end by itself.
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
                # Not in this thread: users' callbacks may take long, or raise.
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
                log.error("the client ends: %s", error)
            failure = error
        except Exception as error:
            log.exception("the client's thread ends by a defect")
            failure = MasterworkerError(f"the client's thread ended by a defect: {error!r:.500}")
        except BaseException:  # threads ignore SystemExit without a word
            log.exception("the client's thread ends")
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
        """Work with one session until it is lost or the work is done."""
        folder = Listing(session, self.account.folder)
        self._attachments.use(session)
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
                self._attachments.mistrust()
            except SessionLost as error:
                log.info("%s; starting a new one", error)
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
            folder.stale = True  # it may be another one, with no watch on it
        if self._sought:
            self._give_up_expired(session)
        self._attachments.step()

    def is_accepted(self, number: int) -> bool:
        """Whether a task that was submitted is known to have been accepted, or refused."""
        return number not in self._unaccepted

    def _give_up_expired(self, session: Session) -> None:
        """End futures whose status was removed unread, while we were away for too long.

        As many are looked for as one request can ask about; results that arrive are not kept
        waiting for the rest.
        """
        for task in Search(session).missing(self._sought):
            future = self._waiting.pop(paths.split_task(task)[1], None)
            if future is not None:
                future.fail(TaskFailed(task, Reason.EXPIRED.value))

    def _rest(self, session: Session, folder: Listing) -> None:
        """Wait until there is something to do."""
        at_work = self._to_be_written or self._sought or (folder.stale and self._waiting)
        if self._done() or (at_work and session.connected):
            return
        # Without a connection there is nothing to look at; its return sets the wake.
        left = LOOK_INTERVAL
        if session.connected:
            left = min(self._next_look, self._attachments.next_step()) - time.monotonic()
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
            self._delivering = True
            try:
                if future.settle(found.data) and not self._keep:
                    self.account.taken.append(number)
            finally:
                self._delivering = False

    def _sending(self, submissions: list[Submission]) -> None:
        """Note what is about to be sent. Raises what ended the courier: then nothing may be."""
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

    # --- its end -----------------------------------------------------------------------------

    def _fail(self, failure: MasterworkerError) -> None:
        """Take no more submissions and send none, for this reason unless there was one already."""
        with self.progress:
            self._failure = self._failure or failure
            self.progress.notify_all()

    def _end(self) -> None:
        """End all futures still waiting, each with what is known of its task."""
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
        """Why a future ends that had no status yet."""
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
                f"the client was closed before ZooKeeper had answered: whether task {task} was "
                f"accepted is not known; `mwctl tasks show {task}` tells"
            )
        return ClientClosed(
            f"the client was closed before task {task} was sent: it was not accepted, and will not "
            "run; submit it again",
            accepted=False,
        )

    def _new_session(self) -> Session:
        return Session(
            self._hosts, login=self._login, timeout=self._session_timeout, wake=self._wake
        )
