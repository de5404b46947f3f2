"""Masters and workers on hosts whose names are invalid in a path."""

from __future__ import annotations

import pytest

from tests.integration.running import client, cluster, tree


@pytest.mark.parametrize("hostname", ["a/b", "", "..", "é\n平" * 100])
def test_no_host_name_ends_a_role(
    hosts: str, hostname: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master and a worker come up on such a host, and a task is done."""
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    with cluster(hosts), tree(hosts) as kazoo, client(hosts) as submitter:
        assert submitter.submit(b"x", executor="echo").result(20) == b"x"
        [name] = kazoo.get_children("/masters")
        assert len(name) <= 110
