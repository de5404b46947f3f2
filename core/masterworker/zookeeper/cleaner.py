"""The primary's housekeeping: workers' assignment folders, and expired entries of /status.

A sweep of /status looks at every entry, and there can be many. It is therefore split into steps of
a few requests and continues across rounds of the primary's loop, which assigns and recovers tasks
in between. Each write is fenced by the epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ..decisions import cleaning
from ..decisions.cleaning import Drop, Entry, Expire, Removal, Retire, Seen
from ..words import paths
from ..words.errors import BadRecord
from .batches import Unit
from .operations import Check, Create, Delete, Operation, Unreadable, Znode
from .removing import EXPECTED, Remover, commit, ledger_in, mark
from .session import Session
from .survey import Survey

log = logging.getLogger(__name__)

READ_TOGETHER: Final = 512
"""Entries of /status read in one step."""


class Cleaner:
    """The housekeeping of one term as primary. All times are in seconds."""

    def __init__(
        self,
        session: Session,
        survey: Survey,
        epoch: int,
        *,
        status_ttl: float,
        folder_ttl: float,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._survey = survey
        self._fence = Check(paths.EPOCH, epoch)
        self._remover = Remover(session, survey.quarantine, self._fence)
        self._status_ttl = status_ttl
        self._folder_ttl = folder_ttl
        self._grace = grace
        self._clock = clock
        self._seen: dict[str, Seen] = {}
        self._absent: dict[str, float] = {}
        self._steps: Iterator[None] | None = None

    # --- the workers' folders ----------------------------------------------------------------

    def mend_folders(self) -> None:
        """Create missing assignment folders of workers, and remove those of lost workers."""
        survey = self._survey
        missing = survey.workers.keys() - survey.assigned.keys()
        folders = [
            Create(paths.assignments(name), owners=survey.identity_of(name)) for name in missing
        ]
        for path in self._carry_out("assignment folders created", folders):
            survey.quarantine.forget(path)
        now = self._clock()
        absent = survey.snapshot().absent()
        self._absent = {name: self._absent.get(name, now) for name in absent}
        empty = [name for name in absent if not survey.assigned[name]]
        stale = cleaning.stale_folders(self._absent, empty, now, self._grace)
        removed = [Delete(paths.assignments(name)) for name in stale]
        self._carry_out("assignment folders of lost workers removed", removed)

    def _carry_out(self, what: str, operations: Sequence[Operation]) -> list[str]:
        """Carry out each operation that succeeds on its own; return their paths."""
        if not operations:
            return []
        units = [Unit(operation.path, (operation,)) for operation in operations]
        report = commit(self._session, self._fence, units)
        for path, refusal in report.refused:
            if refusal.code not in EXPECTED:
                log.warning("housekeeping: %s: %s", path, refusal)
        if report.done:
            log.info("housekeeping: %d %s", len(report.done), what)
        return report.done

    # --- /status -----------------------------------------------------------------------------

    def sweep(self) -> None:
        """Check every entry of /status, and remove those that have been quiet for too long."""
        while not self.work(float("inf"), lambda: False):
            pass

    def work(self, seconds: float, is_urgent: Callable[[], bool]) -> bool:
        """Continue the sweep, or start one; return whether it is finished.

        It stops after `seconds`, or earlier if something is urgent, but not before one step. An
        error ends the sweep; the next one starts from the beginning.
        """
        until = self._clock() + seconds
        steps, self._steps = self._steps or self._sweep(), None
        for _ in steps:
            if is_urgent() or self._clock() >= until:
                self._steps = steps
                return False
        return True

    @property
    def is_sweeping(self) -> bool:
        """Whether a sweep has started and is not finished."""
        return self._steps is not None

    def _sweep(self) -> Iterator[None]:
        listed = self._session.children(paths.STATUS).wait() or []
        names = self._survey.quarantine.sift(paths.STATUS, listed)
        entries: list[Entry] = []
        for start in range(0, len(names), READ_TOGETHER):
            entries += self._entries(names[start : start + READ_TOGETHER])
            yield
        now = self._clock()
        self._seen = cleaning.look(self._seen, entries, now)
        removals = cleaning.removals(
            entries, self._seen, now, status_ttl=self._status_ttl, folder_ttl=self._folder_ttl
        )
        ways = {
            Drop: self._remover.drop,
            Expire: self._remover.expire,
            Retire: self._remover.retire,
        }
        by_kind: dict[type[Removal], list[Entry]] = {}
        for removal in removals:
            by_kind.setdefault(type(removal), []).append(removal.entry)
        for kind, some in by_kind.items():
            yield from ways[kind](some)

    def _entries(self, names: Sequence[str]) -> Iterator[Entry]:
        for path, found in self._session.read_each([f"{paths.STATUS}/{name}" for name in names]):
            if isinstance(found, Unreadable):
                self._survey.quarantine.add(path, str(found))
            if not isinstance(found, Znode):
                continue
            try:
                ledger = ledger_in(found)
            except BadRecord as error:
                self._survey.quarantine.add(path, str(error))
                continue
            name = path.rpartition("/")[2]
            yield Entry(name, found.version, found.children, mark(found), ledger)
