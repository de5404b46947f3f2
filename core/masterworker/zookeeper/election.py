"""Becoming the primary, staying it, and stepping down.

Being elected is one `multi`: create /master (ephemeral) and set /epoch from the version read to the
next. That version is the epoch, the fencing token of the term: every write of a master begins with
`check(/epoch, epoch)`, so ZooKeeper itself refuses late writes of an old master. A check of /master
would fence nothing, since a recreated znode starts at version 0 again.
"""

from __future__ import annotations

import logging

from ..decisions import leadership
from ..words import paths, records
from ..words.errors import BadRecord, MasterworkerError, NotAuthorized
from ..words.model import Master
from .failpoints import failpoint
from .operations import Check, Code, Create, Delete, Refusal, Set, Znode
from .session import Session
from .watched import Existence

log = logging.getLogger(__name__)

_WHY = "its identity (`mwctl acl id`) is not among the masters'"


class Election:
    """One candidacy: one session, one id, never reused."""

    def __init__(self, session: Session, me: Master) -> None:
        self._session = session
        self._me = me
        self._record = records.encode_master(me)
        self._office = Existence(session, paths.MASTER)

    def announce(self) -> None:
        """Register this master under /masters, for `mwctl status`."""
        announcement = Create(paths.master(self._me.id), self._record, ephemeral=True)
        refusal = self._session.commit([announcement]).wait()
        if refusal is not None and refusal.code == Code.NO_AUTH:
            raise NotAuthorized(f"ZooKeeper denied the registration of this master: {_WHY}")
        if refusal is not None and refusal.code != Code.NODE_EXISTS:
            raise MasterworkerError(f"cannot announce master {self._me.id}: {refusal}")

    def run(self) -> int | None:
        """The epoch if this master is the primary now; else None, with a watch set on /master.

        Raises ConnectionLost; the next call then finds out by reading whether the master won.
        """
        for _ in range(3):  # the winner may leave at once: look again, but not forever
            occupied = self._office.read()
            decision = self._decide()
            if isinstance(decision, leadership.Hold):
                return decision.epoch
            if isinstance(decision, leadership.Run) and not occupied:
                self._candidate(decision.epoch_version)
            elif occupied:
                return None
        self._office.stale = True
        return None

    @property
    def office_changed(self) -> bool:
        """Whether /master may have become vacant since the last run."""
        return self._office.stale

    def leave(self, epoch: int) -> None:
        """Step down at once, so that a backup need not wait for the session to end."""
        try:
            self._session.commit([Check(paths.EPOCH, epoch), Delete(paths.MASTER)]).wait()
        except MasterworkerError as error:
            log.info("cannot step down now, the end of the session will do it: %s", error)

    def _decide(self) -> leadership.Run | leadership.Hold | leadership.Wait:
        master, epoch = self._session.read([paths.MASTER, paths.EPOCH])
        if not isinstance(epoch, Znode):
            raise MasterworkerError(f"{paths.EPOCH} cannot be read: {epoch}")
        in_office = None if master is None else _owner(master)
        return leadership.decide(self._me.id, in_office, _owner(epoch), epoch.version)

    def _candidate(self, epoch_version: int) -> None:
        """Run for election; the next read tells whether we won."""
        failpoint("election.before-commit")
        refusal = self._session.commit(
            [
                Create(paths.MASTER, self._record, ephemeral=True),
                Set(paths.EPOCH, self._record, epoch_version),
            ]
        ).wait()
        failpoint("election.after-commit")
        if isinstance(refusal, Refusal) and refusal.code == Code.NO_AUTH:
            raise NotAuthorized(f"ZooKeeper denied the election of this master: {_WHY}")


def _owner(znode: object) -> str:
    """The owner of this record; "?" for data that is no master's record, such as the book's."""
    if isinstance(znode, Znode):
        try:
            return records.decode_master(znode.data).id
        except BadRecord:
            return "?"
    return "?"
