"""Clocks that jump: decisions depend on the monotonic clock, not on the wall clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker import TaskFailed
from tests.integration.ledger_plugin import LIMIT
from tests.integration.roles import NOISE, PATIENT, TICK, Cluster

RECOVERY = PATIENT + TICK + 1.0 + NOISE
"""Seconds from the worker's death to the start of its task elsewhere, at the most. Its session is
long, lest its attempts be interrupted for any other reason than a clock."""

MINUTE = 60.0  # seconds
JUMP = 400 * 24 * 60 * MINUTE
"""Seconds; further than any time to live, limit or timeout reaches."""

SITECUSTOMIZE = """\
\"\"\"Every process with this folder on its path reads a wall clock that can be set.\"\"\"
import time
from pathlib import Path

_true = time.time
_ahead = Path(__file__).with_name("seconds-ahead")
time.time = lambda: _true() + float(_ahead.read_text())
"""


class Clock:
    """The wall clock of every role that the cluster starts from now on."""

    def __init__(self, site: Path) -> None:
        self._file = site / "seconds-ahead"
        self.jump(0.0)
        (site / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def jump(self, seconds: float) -> None:
        """Let it be that far ahead of the true time."""
        written = self._file.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self._file)


@pytest.fixture
def cluster(hosts: str, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without processes yet."""
    with Cluster(hosts, tmp_path) as running:
        yield running


@pytest.fixture
def clock(cluster: Cluster) -> Clock:
    """A clock of the cluster's own."""
    return Clock(cluster.site)


def test_clock_jumps(cluster: Cluster, clock: Clock) -> None:
    """Scenario 36: far ahead, then far back: recovery and time limits keep their time."""
    master = cluster.master(timeout=PATIENT)
    epoch = cluster.in_office(master)
    victim = cluster.worker("wait", "limited", timeout=PATIENT)
    first = cluster.ready(victim)
    running = cluster.client.submit(b"go", executor="wait")
    cluster.started(running.task_id, first)
    clock.jump(JUMP)
    asked = time.monotonic()
    with pytest.raises(TaskFailed) as failed:
        cluster.client.submit(b"never", executor="limited").result(timeout=20.0)
    assert time.monotonic() - asked >= LIMIT
    (attempt,) = failed.value.attempts
    assert attempt.reason == "timed_out"
    assert attempt.started is not None
    assert attempt.ended is not None
    assert abs(attempt.started - time.time() - JUMP) < MINUTE, "the jump was not seen at all"
    assert LIMIT - 0.1 < attempt.ended - attempt.started < LIMIT + NOISE
    clock.jump(-JUMP)
    heir = cluster.ready(cluster.worker("wait", timeout=PATIENT))
    died = time.monotonic()
    victim.kill()
    second = cluster.started(running.task_id, heir, deadline=2 * RECOVERY)
    assert second.start - died < RECOVERY
    cluster.release("go")
    assert running.result(timeout=20.0) == heir.encode()
    assert cluster.in_office(master) == epoch
    assert [run.worker for run in cluster.executions(running.task_id)] == [first, heir]
    cluster.judge(accepted=2)
