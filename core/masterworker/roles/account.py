"""A client's account: how submissions are accepted exactly once, whatever is lost on the way.

The client's folder holds its ledger. Every write is one `multi` that sets the ledger, conditional
on its version, together with the tasks it submits and the statuses it takes. Batches are numbered,
and the ledger says which was the last: after a lost connection the account reads it, and knows of
each batch under way whether it was committed. A repeated batch can only be accepted once, since the
version it expects is gone if it was accepted before.

Several batches are under way at a time, each expecting the version that the one before it makes.
Anything else that writes the ledger (the master, and the account itself after a lost connection)
uses `write_aside`, so that no batch takes another's version for that of its predecessor.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..words import limits, paths, records
from ..words.errors import (
    BadRecord,
    MasterworkerError,
    NotAuthorized,
    Unavailable,
)
from ..words.model import Ledger
from ..zookeeper.failpoints import failpoint
from ..zookeeper.ledgers import write_aside
from ..zookeeper.operations import Code, Create, Delete, Operation, Refusal, Set, Znode, size
from ..zookeeper.replies import Verdict
from ..zookeeper.session import Session
from .future import TaskFuture

log = logging.getLogger(__name__)


class Submission(NamedTuple):
    """A task that is to be accepted, and the future that waits for it."""

    number: int
    create: Create
    future: TaskFuture


@dataclass(frozen=True, slots=True)
class _Batch:
    after: Ledger
    submissions: list[Submission]
    taken: list[int]
    reply: Verdict


class Account:
    """One client id with its ledger, used by one thread.

    Put into `submissions` what is to be accepted and into `taken` the numbers of the statuses that
    were handed over; `pump` does the rest. It tells `on_sending` of submissions before they are
    sent for the first time or again, which can stop it by raising a MasterworkerError; and
    `on_settled` of submissions that were accepted, or refused for good.
    """

    def __init__(
        self,
        on_settled: Callable[[list[Submission]], None],
        on_sending: Callable[[list[Submission]], None] = lambda _: None,
    ) -> None:
        self._on_settled = on_settled
        self._on_sending = on_sending
        self.client = secrets.token_hex(paths.CLIENT_ID_BYTES)
        self.folder = paths.statuses(self.client)
        self.submissions: deque[Submission] = deque()
        self.taken: deque[int] = deque()
        self.openings = 0
        """How often this account made its folder: more than once if the master removed it."""
        self._books: Ledger | None = None
        """The ledger as the last batch sent will leave it; None while that is not known."""
        self._version = 0
        self._under_way: deque[_Batch] = deque()

    @property
    def busy(self) -> bool:
        """Whether something waits to be written or is under way."""
        return bool(self.submissions or self.taken or self._under_way)

    @property
    def expired(self) -> int:
        """How many statuses the master has removed unread, when the ledger was last read."""
        return self._books.expired if self._books else 0

    def doubt(self) -> None:
        """The connection broke: what became of the batches under way is to be found by reading."""
        self._books = None

    def pump(self, session: Session) -> None:
        """Send what there is to send, and take in the answer to the oldest batch under way.

        Raises ConnectionLost or SessionLost, after which `doubt` is to be called; NotAuthorized.
        """
        if self._books is None:
            self._read_books(session)
        while (self.submissions or self.taken) and len(self._under_way) < limits.CLIENT_WINDOW:
            self._send(session)
        if self._under_way:
            refusal = self._under_way[0].reply.wait()
            if refusal is None:
                failpoint("client.accepted")
                self._on_settled(self._under_way.popleft().submissions)
            else:
                self._refused(session, refusal)

    # --- reading what is true ----------------------------------------------------------------

    def _read_books(self, session: Session) -> None:
        """Read the ledger, and settle by it what was under way.

        What the ledger does not count may yet arrive, with a connection or a session given up long
        ago. It is taken back only once the version it expects is gone: the ledger is written anew.
        """
        books = self._read_ledger(session)
        while self._under_way:
            anew = write_aside(self.folder, books, self._version)
            refusal = session.commit(anew).wait()
            if refusal is None:
                self._version += len(anew)
                self._put_back_under_way()
            elif refusal.code in (Code.BAD_VERSION, Code.NO_NODE):
                books = self._read_ledger(session)
            else:
                raise self._denied(refusal)
        self._books = books

    def _read_ledger(self, session: Session) -> Ledger:
        """The ledger as it is now; batches that it counts are settled.

        The folder may be missing: at first, and when the master has retired it because this client
        was idle for long and had no open tasks. Then it is made again, with a new ledger.
        """
        found = session.get(self.folder) or self._open(session)
        try:
            books = records.decode_ledger(found.data)
        except BadRecord as error:
            raise BadRecord(f"the ledger in {self.folder} was overwritten: {error}") from None
        self._version = found.version
        while self._under_way and self._under_way[0].after.batch <= books.batch:
            self._on_settled(self._under_way.popleft().submissions)
        return books

    def _give_up_under_way(self) -> None:
        """The ledger that would tell what became of these batches was removed meanwhile."""
        for batch in self._under_way:
            for submission in batch.submissions:
                submission.future.fail(
                    Unavailable(
                        f"this client was cut off for so long that its ledger was removed: whether "
                        f"task {submission.future.task_id} was accepted, and ran, is not known"
                    )
                )
            self._on_settled(batch.submissions)
        self._under_way.clear()

    def _put_back_under_way(self) -> None:
        while self._under_way:
            undone = self._under_way.pop()
            self._put_back(undone.submissions, undone.taken)

    def _put_back(self, submissions: list[Submission], taken: list[int]) -> None:
        self.submissions.extendleft(reversed(submissions))
        self.taken.extendleft(reversed(taken))

    def _open(self, session: Session) -> Znode:
        """Make the folder, which was not to be found.

        Only that it could be made proves that it was not there: the server asked may have lagged
        behind. If it had been there before, the master has removed it.
        """
        create = Create(self.folder, records.encode_ledger(Ledger()), owners=session.me)
        refusal = session.commit([create]).wait()
        if refusal is None:
            self.openings += 1
            self._give_up_under_way()
        elif refusal.code == Code.NO_AUTH:
            raise NotAuthorized(f"ZooKeeper does not let this client create {self.folder}")
        found = session.get(self.folder)
        if found is None:
            raise MasterworkerError(f"{self.folder} cannot be created: {refusal}")
        return found

    # --- writing -----------------------------------------------------------------------------

    def _send(self, session: Session) -> None:
        submissions, taken = self._next()
        books = self._books or Ledger()
        after = Ledger(
            accepted=books.accepted + len(submissions),
            taken=books.taken + len(taken),
            expired=books.expired,
            batch=books.batch + 1,
        )
        operations: list[Operation] = [
            Set(self.folder, records.encode_ledger(after), self._version)
        ]
        operations += [submission.create for submission in submissions]
        operations += [Delete(f"{self.folder}/{number}") for number in taken]
        try:
            self._on_sending(submissions)
            reply = session.commit(operations)
        except MasterworkerError:
            self._put_back(submissions, taken)
            raise
        self._under_way.append(_Batch(after, submissions, taken, reply))
        self._books = after
        self._version += 1

    def _next(self) -> tuple[list[Submission], list[int]]:
        """What the next batch carries, within the bounds in count and bytes.

        Neither kind crowds out the other: statuses left lying make every listing longer.
        """
        taken = self._some_taken(limits.BATCH_COUNT // 2)
        room = limits.BATCH_COUNT - len(taken)
        submissions: list[Submission] = []
        total = 0
        while self.submissions and len(submissions) < room:
            total += size(self.submissions[0].create)
            if submissions and total > limits.BATCH_BYTES:
                break
            submissions.append(self.submissions.popleft())
        taken += self._some_taken(room - len(submissions))
        return submissions, taken

    def _some_taken(self, most: int) -> list[int]:
        return [self.taken.popleft() for _ in range(min(most, len(self.taken)))]

    def _refused(self, session: Session, refusal: Refusal) -> None:
        """Take out what the oldest batch was refused for; everything else is to be sent again.

        Batches behind it expected the version it would have made, so they were refused too.
        """
        batch = self._under_way[0]
        for behind in self._under_way:
            behind.reply.wait()
        index = refusal.index - 1
        if index >= len(batch.submissions):  # a status that is gone: it expired before we took it
            batch.taken.pop(index - len(batch.submissions))
        elif index >= 0:
            submission = batch.submissions.pop(index)
            submission.future.fail(_why(submission, refusal))
            self._on_settled([submission])
        elif refusal.code not in (Code.BAD_VERSION, Code.NO_NODE):
            raise self._denied(refusal)
        self._put_back_under_way()
        self._read_books(session)

    def _denied(self, refusal: Refusal) -> NotAuthorized:
        return NotAuthorized(f"ZooKeeper does not let this client write {self.folder}: {refusal}")


def _why(submission: Submission, refusal: Refusal) -> MasterworkerError:
    text = f"ZooKeeper did not accept task {submission.future.task_id}: {refusal}"
    return NotAuthorized(text) if refusal.code == Code.NO_AUTH else MasterworkerError(text)
