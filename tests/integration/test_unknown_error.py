"""An error code unknown to kazoo, which silently ends kazoo's thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker import Client
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.roles import DOOMED, PATIENT, Cluster, recovery

UNKNOWN = -4242


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path, PATIENT) as running:
        yield running


@pytest.mark.parametrize("role", ["master", "worker"])
def test_role_whose_kazoo_thread_dies(
    cluster: Cluster, proxy: Proxy, chroot: str, role: str
) -> None:
    """Scenario 34: it notices within its session timeout, restarts, and all work is done."""
    struck = (proxy.hosts(chroot), DOOMED)
    hosts, timeout = struck if role == "master" else ("", None)
    master = cluster.master(hosts=hosts, timeout=timeout)
    hosts, timeout = struck if role == "worker" else ("", None)
    worker = cluster.worker("brief", hosts=hosts, timeout=timeout)
    cluster.in_office(master)
    first = cluster.ready(worker)
    about = f"{chroot}/{'tasks' if role == 'master' else 'status'}/".encode()
    rule = proxy.reply_error(Op.MULTI, error=UNKNOWN, containing=about)
    futures = cluster.client.submit_many([b""] * 8, executor="brief")
    proxy.wait_for(rule)
    for future in futures:
        future.result(timeout=DOOMED + recovery(DOOMED))
    if role == "master":
        assert cluster.in_office(master) == 2
    else:
        assert cluster.ready(worker) != first
    cluster.judge(accepted=8)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_client_whose_kazoo_thread_dies(cluster: Cluster, proxy: Proxy, chroot: str) -> None:
    """Scenario 34: it submits again what was not accepted, in a new session, and only that."""
    cluster.in_office(cluster.master())
    cluster.ready(cluster.worker("brief"))
    rule = proxy.reply_error(Op.MULTI, error=UNKNOWN, containing=f"{chroot}/tasks/".encode())
    with Client(proxy.hosts(chroot), session_timeout=DOOMED) as client:
        futures = client.submit_many([b""] * 8, executor="brief")
        proxy.wait_for(rule)
        for future in futures:
            future.result(timeout=DOOMED + recovery(DOOMED))
    assert len(cluster.executions()) == 8
    cluster.judge(accepted=8)
