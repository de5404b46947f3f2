"""The pages for Python programs: what they show runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from masterworker.dev.cluster import Cluster
from tests.docs.pages import blocks

DOCS = Path(__file__).parents[2] / "docs"


def run(program: str, hosts: str) -> list[str]:
    """The lines that a program of a page prints when MWCTL_HOSTS names the cluster."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"MWCTL_HOSTS": hosts},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_the_python_examples_run_as_shown(tmp_path: Path) -> None:
    """Both programs end well on a worker with the configuration that the page shows."""
    executors = (DOCS / "included-executors.md").read_text()
    python = [table for table in blocks(executors, "toml") if "[executors.python]" in table]
    config = tmp_path / "worker.toml"
    config.write_text("\n".join(python))
    with Cluster(executors=["echo", "python"], config=config) as cluster:
        (hypot,) = blocks(executors, "python")
        assert run(hypot, cluster.hosts) == ["5.0"]
        (client,) = blocks((DOCS / "python.md").read_text(), "python")
        assert run(client, cluster.hosts) == ["b'payload'", "3", "3", "[b'a', b'b']"]
