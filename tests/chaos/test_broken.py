"""The analysis of a deliberately broken product names the broken promise, and no other.

Each scenario runs twice in the same way, with real processes on a real ZooKeeper: with one role
broken, where the analysis must find the breach, and with the real product, where it finds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from masterworker.dev.server import ZooKeeperServer
from masterworker.words import paths
from tests.chaos.journals import Execution
from tests.chaos.saboteur import BETWEEN
from tests.chaos.trial import STAYS, Trial
from tests.chaos.verdict import Promise
from tests.faults.proxy import Proxy
from tests.faults.wire import Op
from tests.integration.roles import TIMEOUT
from tests.waiting import eventually

twice = pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server of these tests has its logs."""
    return tmp_path_factory.mktemp("zookeeper")


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[ZooKeeperServer]:
    """A server of our own: its logs are read."""
    with ZooKeeperServer(files) as running:
        yield running


@pytest.fixture
def trial(hosts: str, tmp_path: Path, files: Path) -> Iterator[Trial]:
    """A trial without processes yet."""
    with Trial(hosts, tmp_path, files) as running:
        yield running


def judged(trial: Trial, broken: bool, *promises: Promise) -> None:
    """All of these promises were broken, if something was broken; else nothing was found."""
    findings = trial.verdict().findings
    if broken:
        assert set(promises) <= set(findings.counts), findings.kept
    else:
        assert findings.kept == []


@twice
def test_master_without_a_fence(trial: Trial, broken: bool) -> None:
    """A primary pauses before it writes, loses its term, and writes when it resumes."""
    trial.ready(trial.chaos_worker(1))
    trial.variant = "unfenced" if broken else "sound"
    sleeper = trial.master(timeout=STAYS, failpoint="master.before-moves:stop")
    trial.in_office(sleeper)
    trial.submit(3)
    trial.stopped(sleeper)
    trial.remove(paths.MASTER)
    heir = trial.master(timeout=STAYS, failpoint="master.in-office:stop")
    trial.stopped(heir)
    sleeper.resume()
    trial.says(sleeper, "no longer the primary")
    heir.resume()
    trial.settle()
    judged(trial, broken, Promise.STALE_EPOCH)


@twice
def test_master_whose_moves_are_torn(trial: Trial, broken: bool) -> None:
    """A primary dies in the middle of its moves; if split in two, they leave tasks nowhere."""
    trial.ready(trial.chaos_worker(1))
    trial.submit(3)
    trial.variant = "torn-moves" if broken else "sound"
    point = BETWEEN if broken else "master.after-moves"
    first = trial.master(timeout=STAYS, failpoint=point)
    trial.died(first, "master-1")
    trial.remove(paths.MASTER)
    trial.in_office(trial.master(timeout=STAYS))
    trial.settle()
    judged(trial, broken, Promise.CONSERVATION, Promise.LOST)


@twice
def test_worker_that_records_before_it_lets_go(trial: Trial, broken: bool) -> None:
    """A worker dies in the middle of its commit; if split, a task with a status runs again."""
    trial.in_office(trial.master(timeout=STAYS))
    trial.variant = "status-first" if broken else "sound"
    first = trial.chaos_worker(1, failpoint=BETWEEN if broken else "worker.after-commit")
    registered = trial.ready(first)
    trial.submit(1)
    trial.died(first, "worker-1")
    trial.remove(paths.worker(registered))
    trial.variant = "sound"
    trial.ready(trial.chaos_worker(2))
    trial.settle()
    judged(trial, broken, Promise.NO_ASSIGNMENT, Promise.CONSERVATION)


@twice
def test_client_that_repeats_blindly(trial: Trial, proxy: Proxy, chroot: str, broken: bool) -> None:
    """The reply to a submission is lost; when the connection is back, its tasks are done."""
    trial.in_office(trial.master(timeout=STAYS))
    trial.ready(trial.chaos_worker(1))
    trial.variant = "blind-repeat" if broken else "sound"
    client = trial.waiting_client(proxy.hosts(chroot), STAYS)
    eventually(lambda: proxy.counts[Op.MULTI], what="the client is connected")
    proxy.refuse()
    rule = proxy.drop_reply(Op.MULTI, containing=b"/tasks/")
    began = time.time()
    trial.go()
    proxy.wait_for(rule, 30.0)
    trial.settle()
    proxy.accept()
    trial.struck("drop-reply", "client-1", began, client)
    assert client.wait(60.0) == 0
    trial.settle()
    judged(trial, broken, Promise.ACCEPTED_TWICE)


@twice
def test_worker_that_heeds_no_lease(trial: Trial, broken: bool) -> None:
    """A worker is paused past its session; its attempt goes on and overlaps with the next."""
    trial.in_office(trial.master(timeout=STAYS))
    trial.variant = "no-lease" if broken else "sound"
    workers = {f"worker-{number}": trial.chaos_worker(number, timeout=TIMEOUT) for number in (1, 2)}
    for worker in workers.values():
        trial.ready(worker)
    trial.submit(1, executor="chaos", until="seen")
    attempts = eventually(trial.executions_so_far, what="it runs")
    victim = max(attempts, key=lambda run: run.start).process
    began = time.time()
    workers[victim].pause()

    def elsewhere() -> list[Execution]:
        runs = trial.executions_so_far()
        return [run for run in runs if run.process != victim and run.start > began]

    def at_once() -> bool:
        runs = trial.executions_so_far()
        ours = [run for run in runs if run.process == victim]
        return any(_at_once(*pair) for pair in product(ours, elsewhere()))

    eventually(elsewhere, what="it runs on the other worker")
    if broken:
        eventually(at_once, what="it runs on both")
    workers[victim].resume()
    trial.struck("stop", victim, began, workers[victim])
    trial.release("seen")
    trial.settle()
    judged(trial, broken, Promise.OVERLAP)


def _at_once(one: Execution, other: Execution) -> bool:
    return max(one.start, other.start) < min(one.seen, other.seen)
