"""A client's account: accepts each submission exactly once, even if replies are lost.

The client's folder holds its ledger. Every write is one `multi` that sets the ledger, conditional
on its version, together with the tasks it submits and the statuses it takes. Batches are numbered,
and the ledger has the number of the last one. After a lost connection the account reads it and
knows for each batch under way whether it was committed. A repeated batch can be accepted only once:
if it was accepted before, the version it expects is gone.

Several batches are under way at a time; each expects the version that its predecessor creates. All
other writers of the ledger (the master, and the account itself after a lost connection) use
`write_aside`, so that no batch mistakes another's version for that of its predecessor.
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
    """A task to be accepted, and the future that waits for it."""

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

    Append new tasks to `submissions`, and the numbers of statuses that were handed over to `taken`;
    `pump` does the rest. It calls `on_sending` before submissions are sent, for the first time or
    again; the callback can stop it by raising a MasterworkerError. It calls `on_settled` for
    submissions that were accepted, or refused for good.
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
        """How often this account created its folder: more than once if the master removed it."""
        self._books: Ledger | None = None
        """The ledger after the last batch sent; None while unknown."""
        self._version = 0
        self._under_way: deque[_Batch] = deque()

    @property
    def busy(self) -> bool:
        """Whether something is waiting to be written or under way."""
        return bool(self.submissions or self.taken or self._under_way)

    @property
    def expired(self) -> int:
        """The number of statuses that the master had removed unread at the last ledger read."""
        return self._books.expired if self._books else 0

    def doubt(self) -> None:
        """Note that the connection broke: batches under way must be settled by reading."""
        self._books = None

    def pump(self, session: Session) -> None:
        """Send what is pending, and process the answer to the oldest batch under way.

        Raises ConnectionLost or SessionLost, after which the caller must call `doubt`;
        NotAuthorized.
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

    # --- reading the ledger ------------------------------------------------------------------

    def _read_books(self, session: Session) -> None:
        """Read the ledger, and use it to settle the batches under way.

        A batch that the ledger does not count may still arrive, over a connection or session given
        up long ago. It counts as not accepted only after the version it expects is gone: the ledger
        is rewritten.
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
        """The current ledger; batches that it counts are settled.

        The folder may be missing: at first, and after the master has retired it because this client
        was idle for long and had no open tasks. It is then created again, with a new ledger.
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
        """Fail the batches under way: the ledger that recorded their outcome was removed."""
        for batch in self._under_way:
            for submission in batch.submissions:
                submission.future.fail(
                    Unavailable(
                        f"this client was disconnected for so long that its ledger was removed: "
                        f"it is not known whether task {submission.future.task_id} was accepted, "
                        "or ran"
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
        """Create the folder, which was not found.

        Only a successful creation proves that it was missing, since the server may have lagged
        behind. If it existed before, the master has removed it.
        """
        create = Create(self.folder, records.encode_ledger(Ledger()), owners=session.me)
        refusal = session.commit([create]).wait()
        if refusal is None:
            self.openings += 1
            self._give_up_under_way()
        elif refusal.code == Code.NO_AUTH:
            raise NotAuthorized(
                f"ZooKeeper denied creating {self.folder}: check the client's identity and the "
                "clients named to `mwctl acl init`"
            )
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
        """The contents of the next batch, within the limits in count and bytes.

        Neither kind crowds out the other: statuses that are not deleted make every listing longer.
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
        """Remove the refused item of the oldest batch; everything else is sent again.

        Batches behind it expected the version that it would have created, so they were refused too.
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
        return NotAuthorized(f"ZooKeeper denied writing {self.folder}: {refusal}")


def _why(submission: Submission, refusal: Refusal) -> MasterworkerError:
    text = f"ZooKeeper did not accept task {submission.future.task_id}: {refusal}"
    return NotAuthorized(text) if refusal.code == Code.NO_AUTH else MasterworkerError(text)
