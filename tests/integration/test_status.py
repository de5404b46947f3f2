"""What is counted of a cluster while it works."""

from __future__ import annotations

from masterworker import Client
from tests.integration.running import SESSION_TIMEOUT, cluster, inspection

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
