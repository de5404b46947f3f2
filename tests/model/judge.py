"""The judge: sees every committed write, and says which promise it breaks.

It stands beside the store, not in the product: what it knows it has from the tree alone, and from
who wrote.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from masterworker.words import book, paths, records
from masterworker.zookeeper.operations import Operation
from tests.model.store import Tree, children


class Broken(AssertionError):
    """A promise was broken."""


class Judge:
    """A witness of the store.

    `masters` are the sessions that masters have begun.
    """

    def __init__(self) -> None:
        self.masters: set[int] = set()
        self.accepted: set[str] = set()
        self.recorded: Counter[str] = Counter()
        self.settled: set[str] = set()
        self._office = 0

    def __call__(
        self, session: int, operations: Sequence[Operation], before: Tree, after: Tree
    ) -> None:
        self._fencing(session, operations, before, after)
        places = where(after)
        self._conservation(operations, where(before), places)
        self._slots(after)

    def _fencing(
        self, session: int, operations: Sequence[Operation], before: Tree, after: Tree
    ) -> None:
        """No write of an old epoch is committed."""
        moves = [one.path for one in operations if _is_of_a_task(one.path)]
        if session in self.masters and moves and session != self._office:
            raise Broken(f"a master of an old epoch wrote {', '.join(moves)}")
        if _version(before, paths.EPOCH) != _version(after, paths.EPOCH):
            self._office = session

    def _conservation(
        self,
        operations: Sequence[Operation],
        before: dict[str, list[str]],
        after: dict[str, list[str]],
    ) -> None:
        """An accepted task is in one place, until its one status is taken or removed."""
        for task, places in after.items():
            self._present(task, places, before.get(task, []))
        for task in before.keys() - after.keys():
            if before[task] != [paths.status(task)]:
                raise Broken(f"task {task} was in {before[task][0]}, and is lost")
            if not any(one.path == paths.status(task) for one in operations):
                raise Broken(f"the status of task {task} vanished")
            self.settled.add(task)

    def _present(self, task: str, places: list[str], before: list[str]) -> None:
        if len(places) > 1:
            raise Broken(f"task {task} is in {' and in '.join(places)}")
        if task in self.settled:
            raise Broken(f"task {task} had ended, and is back in {places[0]}")
        if task not in self.accepted:
            if places != [paths.task(task)]:
                raise Broken(f"task {task}, which nobody submitted, is in {places[0]}")
            self.accepted.add(task)
        if places == [paths.status(task)] != before:
            self.recorded[task] += 1
            if self.recorded[task] > 1:
                raise Broken(f"task {task} has a second status")

    def _slots(self, tree: Tree) -> None:
        """Nobody holds more than it has slots for."""
        for name in children(tree, paths.WORKERS) or []:
            slots = book.worker_in(tree[paths.worker(name)].data).slots
            held = children(tree, paths.assignments(name)) or []
            if len(held) > slots:
                raise Broken(f"worker {name} holds {len(held)} tasks and has {slots} slots")

    def balance(self, tree: Tree) -> None:
        """The books say what was seen: accepted, and taken or expired."""
        total: Counter[str] = Counter()
        for name in ["", *(children(tree, paths.STATUS) or [])]:
            znode = tree[f"{paths.STATUS}/{name}" if name else paths.STATUS]
            if records.is_record(znode.data):
                ledger = records.decode_ledger(znode.data)
                total.update(accepted=ledger.accepted, ended=ledger.taken + ledger.expired)
        if (total["accepted"], total["ended"]) != (len(self.accepted), len(self.settled)):
            raise Broken(
                f"{len(self.accepted)} tasks accepted and {len(self.settled)} ended, "
                f"but the ledgers say {dict(total)}"
            )


def where(tree: Tree) -> dict[str, list[str]]:
    """Each task's places."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in tree:
        if _is_of_a_task(path):
            _, top, *names = path.split("/")
            places["-".join(names) if f"/{top}" == paths.STATUS else names[-1]].append(path)
    return places


def _is_of_a_task(path: str) -> bool:
    depth = path.count("/")
    if paths.parent(path) == paths.TASKS:
        return True
    return depth == 3 and path.startswith((f"{paths.ASSIGN}/", f"{paths.STATUS}/"))


def _version(tree: Tree, path: str) -> int:
    found = tree.get(path)
    return -1 if found is None else found.version
