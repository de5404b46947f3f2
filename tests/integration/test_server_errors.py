"""ZooKeeper answers with an error: it is retried or the process ends, and nobody sits idle."""

from __future__ import annotations

import threading

import pytest

from masterworker.roles.master import Master, MasterSettings
from masterworker.words.errors import MasterworkerError
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import (
    SESSION_TIMEOUT,
    audit,
    client,
    client_of,
    master,
    tree,
    wait_until_settled,
    worker,
)
from tests.waiting import eventually

STEPS = {
    "reading the tree": (Op.MULTI_READ, "/masters"),
    "announcing itself": (Op.MULTI, "/masters/"),
    "watching the office": (Op.EXISTS, "/master"),
    "reading who is in office": (Op.MULTI_READ, "/master\0"),
    "running for office": (Op.MULTI, "/epoch"),
    "reading whether it won": (Op.MULTI_READ, "/master\0"),
    "listing the assignments": (Op.GET_CHILDREN, "/assign"),
}
"""The requests on the way into office and of the first round there, in their order."""

ERRORS = {"session expired": -112, "system error": -1, "no auth": -102}
"""The first is over with a new session; nobody knows what the others mean for what comes next."""

UNKNOWN = -9_999
"""An error code that kazoo has never heard of: its connection's thread dies of it."""


class Standing(threading.Thread):
    """A master in a thread; `failure` is what it ended with, if it did."""

    def __init__(self, hosts: str) -> None:
        super().__init__(name="master", daemon=True)
        self.failure: MasterworkerError | None = None
        self._master = Master(hosts, MasterSettings(session_timeout=SESSION_TIMEOUT))

    def run(self) -> None:
        try:
            self._master.run()
        except MasterworkerError as error:
            self.failure = error

    def stop(self) -> None:
        """End the master, and wait for it."""
        self._master.stop()
        self.join(10.0)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ERRORS)
def test_error_at_a_step_of_election(
    hosts: str, chroot: str, proxy: Proxy, step: str, error: str
) -> None:
    """It is elected and works, or it ends and has left office: there is never an idle primary."""
    op, about = STEPS[step]
    nth = 2 if step == "reading whether it won" else 1
    containing = (chroot + about).encode()
    rule = proxy.reply_error(op, nth, error=ERRORS[error], containing=containing)
    standing = Standing(proxy.hosts(chroot))
    with tree(hosts) as kazoo:
        kazoo.create("/workers/w", b"Idle", ephemeral=True)
        kazoo.create("/assign/w")
        kazoo.create("/tasks/task-1", b"raw")
        standing.start()
        proxy.wait_for(rule)
        if error == "session expired":
            eventually(lambda: kazoo.exists("/assign/w/task-1"), what="the primary works")
            standing.stop()
            assert standing.failure is None
        else:
            standing.join(10.0)
            assert standing.failure is not None
        assert not standing.is_alive()
        eventually(lambda: not kazoo.exists("/master"), what="nobody is in office")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("victim", "about"), [("master", "/tasks"), ("worker", "/assign/"), ("client", "/status/")]
)
def test_death_of_a_thread_of_kazoo_is_noticed(
    hosts: str, chroot: str, proxy: Proxy, victim: str, about: str
) -> None:
    """Whoever's connection loses its thread begins anew with another, and everything goes on."""
    containing = (chroot + about).encode()
    rule = proxy.reply_error(Op.GET_CHILDREN, nth=1, error=UNKNOWN, containing=containing)

    def way(role: str) -> str:
        return proxy.hosts(chroot) if role == victim else hosts

    with (
        tree(hosts) as kazoo,
        master(way("master")),
        worker(way("worker")),
        client(way("client")) as submitter,
    ):
        for _ in range(3):
            future = submitter.submit(b"x", executor="echo")
            assert future.result(20) == b"x"
        proxy.wait_for(rule)
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"
        wait_until_settled(kazoo, client_of(future.task_id), 4)
    assert audit(hosts).ok
