"""Broken variants of the product, which show that the analysis finds faults if there are any.

`python -m tests.chaos.saboteur VARIANT master|worker ...` runs that role's own command in a process
in which one promise is deliberately broken. With `client HOSTS JOURNALS SESSION_TIMEOUT` it runs a
client that connects, submits a few tasks once a file JOURNALS/go exists, and waits for the results.
The product's code is patched in that process; the product itself has no support for this.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from masterworker import Client
from masterworker.cli import main as mwctl
from masterworker.roles.account import Account
from masterworker.roles.crew import Crew
from masterworker.words import paths, records
from masterworker.zookeeper.failpoints import failpoint
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.operations import Check, Create, Delete, Operation
from masterworker.zookeeper.replies import Verdict
from masterworker.zookeeper.session import Session
from tests.chaos.journal import Journal
from tests.chaos.load import Load

GO: Final = "go"
TASKS: Final = 5
POLL: Final = 0.02  # seconds

BETWEEN: Final = "saboteur.between"
"""The failpoint between the two commits of a split move."""


def sound() -> None:
    """Break nothing: the control, under the same conditions."""


def unfenced() -> None:
    """A master's moves check that there is an epoch, but not that it is this master's."""
    begin = Mover.__init__

    def begin_unfenced(self: Mover, *arguments: Any) -> None:
        begin(self, *arguments)
        self._fence = Check(paths.EPOCH)

    _patch(Mover, "__init__", begin_unfenced)


def torn_moves() -> None:
    """A move is two commits: first the deletions, then the creations."""
    _tear(Delete)


def status_first() -> None:
    """A move is two commits: first the creations, then the deletions, as in the book."""
    _tear(Create)


def _tear(first: type[Operation]) -> None:
    """Commit operations of the type `first` before the others, with their guards."""
    commit = Session.commit

    def commit_torn(self: Session, operations: Sequence[Operation]) -> Verdict:
        changed = [one for one in operations if isinstance(one, Create | Delete)]
        if not any(map(_is_of_a_task, changed)) or len({type(one) for one in changed}) < 2:
            return commit(self, operations)
        guards = [one for one in operations if one not in changed]
        sooner = [one for one in changed if isinstance(one, first)]
        later = [one for one in changed if not isinstance(one, first)]
        verdict = commit(self, [*guards, *sooner])
        if verdict.wait() is not None:
            return verdict
        failpoint(BETWEEN)
        return commit(self, [*guards, *later])

    _patch(Session, "commit", commit_torn)


def _is_of_a_task(operation: Operation) -> bool:
    return operation.path.startswith((f"{paths.TASKS}/", f"{paths.ASSIGN}/"))


def blind_repeat() -> None:
    """After a lost reply a client sends again everything under way, accepted or not."""

    def read_nothing(self: Account, session: Session) -> None:
        found = session.get(self.folder) or self._open(session)
        self._put_back_under_way()
        self._version = found.version
        self._books = records.decode_ledger(found.data)

    _patch(Account, "_read_books", read_nothing)


def no_lease() -> None:
    """A worker without contact to ZooKeeper lets its attempts continue."""

    def ignore(_self: Crew, _until: float) -> None: ...

    _patch(Crew, "lease", ignore)


VARIANTS: Final[dict[str, Callable[[], None]]] = {
    "sound": sound,
    "unfenced": unfenced,
    "torn-moves": torn_moves,
    "status-first": status_first,
    "blind-repeat": blind_repeat,
    "no-lease": no_lease,
}


def client(hosts: str, journals: Path, session_timeout: float) -> None:
    """Submit a few tasks when told to, and journal their outcomes."""
    with Client(hosts, session_timeout=session_timeout) as connected:
        journal = Journal(journals / f"client-1-{os.getpid()}.jsonl")
        load = Load(connected, journal, "client-1", 1, ours=False)
        while not (journals / GO).exists():
            time.sleep(POLL)
        load.submit(TASKS)
        while load.owed:
            load.collect()
            time.sleep(POLL)


def _patch(owner: type, name: str, replacement: Callable[..., Any]) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name} any more: mend this saboteur")
    setattr(owner, name, replacement)


def main() -> None:
    """Break the promise named by the first argument, and run the command that follows."""
    variant, role = sys.argv[1], sys.argv[2]
    VARIANTS[variant]()
    if role == "client":
        hosts, journals, session_timeout = sys.argv[3:]
        client(hosts, Path(journals), float(session_timeout))
    else:
        del sys.argv[1]
        sys.exit(mwctl())


if __name__ == "__main__":
    main()
