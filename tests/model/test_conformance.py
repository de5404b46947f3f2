"""The model held against a real ZooKeeper: the same operations, the same answers.

Two sessions do whatever hypothesis makes up, each on the real server through our own Session and on
the model. Every refusal, every read, and every watch must come out alike. Transaction ids differ,
so their order is compared. One replica: what a follower that lags may do no single server shows.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from masterworker.dev.server import ZooKeeperServer
from masterworker.zookeeper.operations import (
    Check,
    Create,
    Delete,
    Found,
    Operation,
    Refusal,
    Set,
    Znode,
)
from masterworker.zookeeper.session import Session
from tests.faults.expire import expire
from tests.model.session import ModelSession
from tests.model.store import Store
from tests.unit import strategies  # noqa: F401 - sets the profile
from tests.waiting import eventually

ROOTS = ("/a", "/b")
ALL = [*ROOTS, *(f"{root}/{name}" for root in ROOTS for name in "xyz"), "/a/x/deep"]

path_names = st.sampled_from(ALL)
datas = st.binary(max_size=3)
versions = st.sampled_from([-1, -1, 0, 1, 2])
operations = st.one_of(
    st.builds(Create, path_names, datas, st.booleans()),
    st.builds(Create, path_names, datas),
    st.builds(Delete, path_names, versions),
    st.builds(Set, path_names, datas, versions),
    st.builds(Check, path_names, versions),
)
multis = st.lists(operations, min_size=1, max_size=4)
watches = st.tuples(st.sampled_from(["get", "children", "existence"]), path_names)
steps = st.lists(st.tuples(st.integers(0, 1), multis | watches), min_size=5, max_size=40)


Step = tuple[int, list[Operation] | tuple[str, str]]

COMMON: list[Step] = [
    (0, [Create("/a/x", b"1"), Create("/a/y", b"", True)]),
    (1, ("children", "/a")),
    (1, ("get", "/a/x")),
    (1, ("existence", "/a/z")),
    (0, ("children", "/a/x")),
    (0, [Set("/a/x", b"2", 0)]),
    (1, [Set("/a/x", b"3", 0)]),
    (1, [Check("/a/x", 0)]),
    (1, [Check("/a/x", 2)]),
    (0, [Delete("/a/x", 0)]),
    (0, [Delete("/a/x", 1)]),
    (1, ("children", "/a")),
    (1, [Create("/a/z", b"", True)]),
    (0, [Create("/a/z")]),
    (0, [Create("/a/x/deep")]),
    (0, [Delete("/a")]),
    (1, [Create("/b/x"), Check("/b", 7)]),
]
"""What the roles rely on most: versions gone by, watches on all there is to watch, refusals."""


@dataclass
class Side:
    """Two sessions on one of the two, and the watches that have fired."""

    sessions: Sequence[Session | ModelSession]
    fired: list[tuple[int, int]] = field(default_factory=list)

    def commit(self, who: int, several: Sequence[Operation]) -> Refusal | None:
        return self.sessions[who].commit(several).wait()

    def watch(self, who: int, kind: str, path: str, number: int) -> object:
        """What is there now; the watch is known by its number."""

        def callback(_event: object) -> None:
            self.fired.append((who, number))

        session = self.sessions[who]
        if kind == "existence":
            return session.watch_existence(path, callback)
        if kind == "children":
            names = session.children(path, callback).wait()
            return names and sorted(names)
        found = session.get(path, callback)
        return found and found.data

    def heard(self, listeners: Sequence[int]) -> list[tuple[int, int]]:
        """The watches of these sessions that have fired."""
        return sorted(one for one in self.fired if one[0] in listeners)

    def owners(self, tree: Sequence[Found]) -> list[int]:
        """Which of the sessions each znode belongs to, counted from 1; 0 for nobody."""
        numbers = [0, *(session.identity for session in self.sessions)]
        return [numbers.index(found.owner) if isinstance(found, Znode) else 0 for found in tree]


def in_order(tree: Sequence[Found]) -> list[object]:
    """Znodes with the ranks of their transaction ids, instead of the ids themselves."""
    znodes = [found for found in tree if isinstance(found, Znode)]
    ids = {one for znode in znodes for one in (znode.created, znode.changed)}
    ids |= {znode.children_changed for znode in znodes}
    rank = {zxid: place for place, zxid in enumerate(sorted(ids))}
    return [
        found._replace(
            created=rank[found.created],
            changed=rank[found.changed],
            children_changed=rank[found.children_changed],
            owner=0,
            modified=0.0,  # the servers' clocks
        )
        if isinstance(found, Znode)
        else found
        for found in tree
    ]


def compare(real: Side, model: Side, listeners: Sequence[int]) -> None:
    """Everything that can be read is alike, and so are the watches fired so far."""
    ours, theirs = (side.sessions[0].read(ALL) for side in (real, model))
    assert in_order(ours) == in_order(theirs)
    assert real.owners(ours) == model.owners(theirs)
    for path in ROOTS:
        names, listed = (side.sessions[0].children(path).wait() for side in (real, model))
        assert (names and sorted(names)) == listed
    same_heard(real, model, listeners)


def same_heard(real: Side, model: Side, listeners: Sequence[int]) -> None:
    """The same watches have fired so far."""
    heard = model.heard(listeners)
    eventually(lambda: real.heard(listeners) == heard, what=f"the watches {heard} fired")


class Real:
    """A folder of its own on the real server, and two sessions in it."""

    def __init__(self, server: ZooKeeperServer) -> None:
        self._server = server
        self._chroot = f"/model-{secrets.token_hex(6)}"

    def __enter__(self) -> list[Session]:
        with_root = Session(self._server.hosts)
        with_root.start()
        assert with_root.commit([Create(self._chroot)]).wait() is None
        with_root.close()
        self._sessions = [Session(self._server.hosts + self._chroot) for _ in range(2)]
        for session in self._sessions:
            session.start()
        return self._sessions

    def __exit__(self, *_: object) -> None:
        for session in self._sessions:
            session.close()


def two_on_a_model() -> tuple[Store, list[ModelSession]]:
    """Two sessions that run on a model."""
    store = Store()
    sessions = [ModelSession(store, Event()) for _ in range(2)]
    for session in sessions:
        session.start()
    return store, sessions


def end(session: Session, server: ZooKeeperServer) -> None:
    """The server ends a session that its owner still believes in."""
    session_id, password = session._kazoo.client_id
    expire(server.hosts, session_id, password)


@example(steps=COMMON)
@given(steps=steps)
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_model_answers_as_zookeeper_does(server: ZooKeeperServer, steps: list[Step]) -> None:
    """Refusals, data, versions, children, owners, the order of changes, and watches."""
    store, on_model = two_on_a_model()
    with Real(server) as on_server:
        real, model = Side(on_server), Side(on_model)
        start: list[Operation] = [Create(root) for root in ROOTS]
        assert real.commit(0, start) is model.commit(0, start) is None
        for number, (who, step) in enumerate(steps):
            if isinstance(step, list):
                assert real.commit(who, step) == model.commit(who, step), step
            else:
                kind, path = step
                there = [side.watch(who, kind, path, number) for side in (real, model)]
                assert there[0] == there[1], step
            same_heard(real, model, listeners=[0, 1])
        compare(real, model, listeners=[0, 1])
        # A session's end takes its ephemeral znodes with it, which others can watch.
        for number, path in enumerate(ALL, len(steps)):
            assert real.watch(0, "existence", path, number) == model.watch(
                0, "existence", path, number
            )
        end(on_server[1], server)
        store.end_session(on_model[1].identity)
        compare(real, model, listeners=[0])
