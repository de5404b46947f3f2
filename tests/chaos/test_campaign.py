"""A short campaign inside the test suite: like a long one except for its length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import judge, report
from tests.chaos.campaign import Campaign

SEED = 2928
"""Its faults: the ensemble, a worker and the primary killed, a worker paused for longer than its
session, a failpoint, a black hole, a reset, a lost reply."""
MINUTES = 0.75
RATE = 100.0  # tasks a second


@pytest.mark.zookeeper
@pytest.mark.timeout(300)
def test_every_promise_is_kept_through_a_short_campaign(tmp_path: Path) -> None:
    """Real processes, a real ensemble, real faults, thousands of tasks: nothing is lost."""
    Campaign(tmp_path, SEED, MINUTES, RATE, lambda _progress: None).carry_out()
    verdict = judge.judge_run(tmp_path)
    report.write(tmp_path, verdict)
    assert verdict.ok, (tmp_path / "report.md").read_text()
    assert sum(fault.skipped is None for fault in verdict.faults) >= 5
    assert verdict.numbers["tasks accepted"] >= 2_000
    assert verdict.numbers["tasks done"] == verdict.numbers["tasks accepted"]
