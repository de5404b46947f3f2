"""What is counted of a cluster while it works."""

from __future__ import annotations

from kazoo.security import make_acl

from masterworker import Client
from tests.integration.running import SESSION_TIMEOUT, cluster, inspection, tree

TASKS = 3000


def test_status_never_misses_a_task(hosts: str) -> None:
    """A task that moves while it is counted is in at least one of the places."""
    with (
        Client(hosts, session_timeout=SESSION_TIMEOUT, acknowledge=True) as client,
        inspection(hosts) as view,
    ):
        futures = client.submit_many([b""] * TASKS, executor="echo")
        client.flush(20.0)
        assert view.status().pending == TASKS
        with cluster(hosts):
            while not all(future.done() for future in futures):
                status = view.status()
                seen = status.pending + sum(status.assigned.values()) + status.finished
                assert seen >= TASKS
        client.acknowledge(*futures)


def test_folder_that_nobody_may_read_does_not_keep_the_rest_from_being_counted(hosts: str) -> None:
    """It counts as empty."""
    with tree(hosts) as kazoo, inspection(hosts) as view:
        kazoo.create("/assign/closed", acl=[make_acl("world", "anyone", create=True)])
        kazoo.create("/assign/closed/task", b"")
        kazoo.create("/assign/open/task", b"", makepath=True)
        kazoo.create("/tasks/task", b"")
        status = view.status()
    assert (status.pending, dict(status.assigned)) == (1, {"closed": 0, "open": 1})
