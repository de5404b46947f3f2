"""ZooKeeper in memory, as far as we rely on it: one history, read through followers that may lag.

The leader's history is a list of trees, one for each transaction. A replica has applied a part of
it: reads see its tree, so they can be stale; a write through it, or a sync, makes it catch up.
Watches belong to a replica and fire as it applies a change, once. Sessions end for the leader
first, and for their owner when the replica hears of it.

`tests/model/test_conformance.py` holds this against a real server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from masterworker.words import paths
from masterworker.zookeeper.operations import (
    Check,
    Code,
    Create,
    Delete,
    Operation,
    Refusal,
    Set,
    Znode,
)

Tree = dict[str, Znode]
"""The znodes by path; the root's path is "/"."""

NO_CHILDREN_FOR_EPHEMERALS: Final = -108

EMPTY: Final[Tree] = {"/": Znode(b"", 0, 0, 0, 0, 0, 0)}


class Kind(StrEnum):
    """What a watch looks at."""

    DATA = "data"
    CHILDREN = "children"


class Changed(NamedTuple):
    """What a transaction changed, as a watch sees it."""

    kind: Kind
    path: str


def children(tree: Tree, path: str) -> list[str] | None:
    """The names of a znode's children, None if there is no such znode."""
    if path not in tree:
        return None
    prefix = "/" if path == "/" else f"{path}/"
    names = (one.removeprefix(prefix) for one in tree if one.startswith(prefix) and one != "/")
    return sorted(name for name in names if "/" not in name)


def carry_out(
    operations: Sequence[Operation], tree: Tree, session: int, zxid: int
) -> tuple[Tree, list[Changed]] | Refusal:
    """The tree after a `multi`, with what has changed; or the first operation that was refused."""
    after = dict(tree)
    changes: list[Changed] = []
    for index, operation in enumerate(operations):
        code = _apply(operation, after, session, zxid, changes)
        if code is not None:
            return Refusal(index, code)
    return after, changes


def _apply(
    operation: Operation, tree: Tree, session: int, zxid: int, changes: list[Changed]
) -> int | None:
    """Carry out one operation on this tree, or say with which error it fails."""
    path = operation.path
    found = tree.get(path)
    if isinstance(operation, Create):
        return _create(operation, tree, session, zxid, changes)
    if found is None:
        return Code.NO_NODE
    if operation.version not in (-1, found.version):
        return Code.BAD_VERSION
    match operation:
        case Set():
            tree[path] = found._replace(
                data=operation.data, version=found.version + 1, changed=zxid
            )
            changes.append(Changed(Kind.DATA, path))
        case Delete() if found.children:
            return Code.NOT_EMPTY
        case Delete():
            del tree[path]
            _count(tree, paths.parent(path), -1, zxid)
            changes += [Changed(kind, path) for kind in Kind]
            changes.append(Changed(Kind.CHILDREN, paths.parent(path)))
        case Check():
            pass
    return None


def _create(
    create: Create, tree: Tree, session: int, zxid: int, changes: list[Changed]
) -> int | None:
    parent = paths.parent(create.path)
    if parent not in tree:
        return Code.NO_NODE
    if create.path in tree:
        return Code.NODE_EXISTS
    if tree[parent].owner:
        return NO_CHILDREN_FOR_EPHEMERALS
    owner = session if create.ephemeral else 0
    tree[create.path] = Znode(create.data, 0, zxid, zxid, owner, 0, zxid)
    _count(tree, parent, 1, zxid)
    changes += [Changed(Kind.DATA, create.path), Changed(Kind.CHILDREN, parent)]
    return None


def _count(tree: Tree, parent: str, difference: int, zxid: int) -> None:
    znode = tree[parent]
    tree[parent] = znode._replace(children=znode.children + difference, children_changed=zxid)


class Transaction(NamedTuple):
    """A step of the history: the tree after it, what it changed, and the session it ended."""

    tree: Tree
    changes: Sequence[Changed] = ()
    ended: int = 0


Witness = Callable[[int, Sequence[Operation], Tree, Tree], None]
"""Sees every committed `multi`: its session, its operations, the tree before and after."""


class Store:
    """The leader, and the replicas that sessions are connected to."""

    def __init__(self, replicas: int = 1) -> None:
        self.history: list[Transaction] = [Transaction(EMPTY)]
        self.replicas = [Replica(self) for _ in range(replicas)]
        self.alive: set[int] = set()
        """The sessions that the leader has not ended."""
        self.witnesses: list[Witness] = []
        self._sessions = 0

    @property
    def tree(self) -> Tree:
        """The newest tree."""
        return self.history[-1].tree

    def new_session(self) -> int:
        """Begin a session; its number is never used again."""
        self._sessions += 1
        self.alive.add(self._sessions)
        return self._sessions

    def commit(self, session: int, operations: Sequence[Operation]) -> Refusal | None:
        """Carry out all operations or none."""
        if session not in self.alive:
            return Refusal(0, Code.SESSION_EXPIRED)
        before = self.tree
        outcome = carry_out(operations, before, session, len(self.history))
        if isinstance(outcome, Refusal):
            self._append(Transaction(before))
            return outcome
        after, changes = outcome
        for witness in self.witnesses:
            witness(session, operations, before, after)
        self._append(Transaction(after, changes))
        return None

    def end_session(self, session: int) -> None:
        """End a session, on its own request or because it was silent; its ephemerals vanish."""
        if session not in self.alive:
            return
        self.alive.remove(session)
        owned = [Delete(path) for path, znode in self.tree.items() if znode.owner == session]
        outcome = carry_out(owned, self.tree, session, len(self.history))
        if isinstance(outcome, Refusal):
            raise TypeError(f"an ephemeral znode of session {session} stays: {outcome}")
        self._append(Transaction(*outcome, ended=session))

    def _append(self, transaction: Transaction) -> None:
        self.history.append(transaction)
        for replica in self.replicas:
            if not replica.lagging:
                replica.catch_up()


Callback = Callable[[object], None]


class Replica:
    """A server that sessions are connected to. While it is `lagging` it hears of no new changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.applied = 0
        self.lagging = False
        self._watches: dict[Changed, dict[int, set[Callback]]] = defaultdict(dict)
        self._connections: dict[int, Callable[[], None]] = {}

    @property
    def tree(self) -> Tree:
        """The tree as this server knows it."""
        return self._store.history[self.applied].tree

    def connect(self, session: int, seen: int, hang_up: Callable[[], None]) -> bool:
        """Serve a session that has seen this much of the history; False if the session is over.

        A server that has seen less turns the client away, as if it were not there: so it catches up
        first. `hang_up` is called when the session is over.
        """
        if self.applied < seen:
            self.catch_up()
        if session not in self._store.alive:
            return False
        self._connections[session] = hang_up
        return True

    def disconnect(self, session: int) -> list[Callback]:
        """Forget a session's watches; kazoo calls them all when the connection breaks."""
        self._connections.pop(session, None)
        mine = [watching.pop(session, set()) for watching in self._watches.values()]
        return [callback for callbacks in mine for callback in callbacks]

    def watch(self, session: int, kind: Kind, path: str, callback: Callback) -> None:
        """Call back once when this changes."""
        self._watches[Changed(kind, path)].setdefault(session, set()).add(callback)

    def catch_up(self) -> None:
        """Apply all there is; watches fire, and connections of sessions that ended are closed."""
        while self.applied < len(self._store.history) - 1:
            self.applied += 1
            transaction = self._store.history[self.applied]
            for change in transaction.changes:
                for callbacks in self._watches.pop(change, {}).values():
                    for callback in callbacks:
                        callback(change)
            hang_up = self._connections.pop(transaction.ended, None)
            if hang_up is not None:
                hang_up()
