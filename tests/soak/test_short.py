"""The soak run itself, for a few seconds: it measures and evaluates as documented."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
def test_short_run(tmp_path: Path) -> None:
    """A cluster of its own carries a load, is idle again, and every file of the report is there."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes=0.04", "--tasks=300", "--ttl=0.5",
         "--every=0.5", "--masters=1", "--workers=1", f"--run={tmp_path / 'run'}"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=270, check=False,
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    samples = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    counts = {finding["check"] for finding in report["findings"]}
    assert done.returncode == (0 if report["ok"] else 1), done.stderr
    assert report["tasks"]["done"] >= 300
    assert (report["tasks"]["wrong"], report["tasks"]["failed"]) == (0, 0)
    assert report["audit"]["ok"]
    assert counts == {"trend", "thirds", "return", "most"}
    assert {json.loads(line)["phase"] for line in samples} == {"before", "load", "after"}
    assert "| zookeeper.znodes | return | 0 | 0 | ok |" in (tmp_path / "run/report.md").read_text()
