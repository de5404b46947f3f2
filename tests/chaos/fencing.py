"""Fencing: a master writes only under its own epoch, and a worker moves only its own tasks.

The log does not say which version a check expected, but it says which session wrote. A master's
write must start with a check of /epoch *and* come from the session that set the current one.
"""

from __future__ import annotations

from collections.abc import Sequence

from masterworker.words import paths
from tests.chaos.history import Check, Create, Operation, Set, Transaction
from tests.chaos.story import Change, Story, Where
from tests.chaos.verdict import Finding, Findings, Promise


class Fencing:
    """Checks which session writes. `story` is the state just after the transaction."""

    def __init__(self, story: Story, findings: Findings) -> None:
        self._story = story
        self._findings = findings

    def see(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Check the author of one transaction."""
        if transaction.event:
            return
        if transaction.session in self._story.masters:
            if any(_is_a_masters(operation) for operation in transaction.operations):
                self._fenced(transaction)
            return
        for change in changes:
            self._own(transaction, change)

    def _fenced(self, transaction: Transaction) -> None:
        story = self._story
        first = transaction.operations[0]
        if _is_election(transaction):
            return
        if not (isinstance(first, Check) and first.path == paths.EPOCH):
            self._stale(transaction, "does not check /epoch")
        elif transaction.session != story.holder:
            self._stale(transaction, "is not the primary")

    def _own(self, transaction: Transaction, change: Change) -> None:
        """A task that is neither a master's nor this worker's may not be moved."""
        step = change.step
        if any(place.where is Where.ASSIGNED for place in step.came):
            self._stale(transaction, "is no master")
        for place in step.left:
            holder = self._story.incarnations.get(place.worker)
            if holder is not None and holder.session != transaction.session:
                self._findings.add(
                    Finding(
                        Promise.FOREIGN_MOVE,
                        f"task {change.life.task} was taken from worker {place.worker} by session "
                        f"{step.session:#x}, which is neither the worker's nor a master's",
                        change.life.task,
                        step.zxid,
                        step.session,
                        step.at,
                    )
                )

    def _stale(self, transaction: Transaction, what: str) -> None:
        story = self._story
        master = story.masters.get(transaction.session, "an unknown session")
        written = [operation.path for operation in transaction.operations[:5]]
        self._findings.add(
            Finding(
                Promise.STALE_EPOCH,
                f"session {transaction.session:#x} ({master}) wrote although it {what}; the "
                f"epoch was {story.epoch}",
                zxid=transaction.zxid,
                session=transaction.session,
                at=transaction.at,
                evidence={
                    "epoch": story.epoch,
                    "holder": None if story.holder is None else f"{story.holder:#x}",
                    "written": written,
                    "operations": len(transaction.operations),
                },
            )
        )


def _is_a_masters(operation: Operation) -> bool:
    """Whether it needs an epoch: all but a check, its announcement, and the tree's folders."""
    if isinstance(operation, Create):
        return operation.path not in paths.FOLDERS and not operation.path.startswith("/masters/")
    return not isinstance(operation, Check)


def _is_election(transaction: Transaction) -> bool:
    """Whether this is the one write that creates an epoch: /master and /epoch together."""
    match transaction.operations:
        case (Create(path=paths.MASTER), Set(path=paths.EPOCH)):
            return True
    return False
