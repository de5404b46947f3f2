"""ZooKeeper answers an election with an error: the master retries or ends, never idles."""

from __future__ import annotations

import threading

import pytest

from masterworker.roles.master import Master, MasterSettings
from masterworker.words.errors import MasterworkerError
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.running import SESSION_TIMEOUT, tree
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
"""The requests of an election and of the primary's first round, in their order."""

ERRORS = {"session expired": -112, "system error": -1, "no auth": -102}
"""The first ends with a new session; the effect of the others is not known in advance."""


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
    """It is elected and works, or ends and has stepped down: no primary is ever idle."""
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
