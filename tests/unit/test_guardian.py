"""The guardian: who kills the attempts when the worker cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from masterworker.execution.guardian import Guardian, descendants, kill_group
from tests.unit.attempts_support import PLUGIN, is_alive, is_stopped
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

LEASE = 4.0  # seconds; a machine that stands still for less ends no attempt

DRIVER = """
import sys, threading, time
from masterworker import TaskContext
from masterworker.execution.attempts import Job
from masterworker.execution.guardian import Guardian
from masterworker.execution.plugins import Plugins
from masterworker.execution.slots import ProcessRunner
from masterworker.words.model import Task

file, lease = sys.argv[1], float(sys.argv[2])
over = threading.Event()

def report(outcomes):
    for outcome in outcomes:
        print(outcome.reason, outcome.interrupted, outcome.detail, flush=True)
    over.set()

guardian = Guardian()
guardian.start()
open(file + ".guardian", "w").write(str(guardian.pid))
runner = ProcessRunner(Plugins.probe().executors(["throw_guardian:family"]), 1, guardian, report)
runner.start([Job(Task("t-1", "family"), file.encode(), TaskContext("t-1", "family"))])
while not over.wait(lease / 10):
    guardian.extend(time.monotonic() + lease)
runner.close()
guardian.close()
"""


@pytest.fixture
def group() -> Iterator[Callable[[], int]]:
    """Starts a process that leads a group of its own, and returns its pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        started.append(subprocess.Popen(["sleep", "1000"], start_new_session=True))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def lease() -> float:
    """Seconds of the driver's leases: for most tests none that ends."""
    return 1000.0


@pytest.fixture
def driver(tmp_path: Path, lease: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A small worker with a task that hangs, and the file that gets its processes' pids."""
    site = install(tmp_path, "throw_guardian", PLUGIN, distribution="throw-guardian", version="1")
    file = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(file), str(lease)],
        env=os.environ | {"PYTHONPATH": str(site)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process, file
        process.kill()


def family(file: Path) -> list[int]:
    """The pids of the driver's child and grandchild, as soon as the task runs."""
    eventually(file.exists, 60, f"{file} to be written")
    pids: list[int] = json.loads(file.read_text())
    return pids


def test_a_worker_that_dies_with_its_mail_unread_is_noticed(
    guardian: Guardian, group: Callable[[], int]
) -> None:
    """What it never read turns its end into a reset: its groups are killed all the same."""
    first, second = group(), group()
    guardian.watch(first)
    guardian.extend(time.monotonic())
    eventually(lambda: not is_alive(first))  # of which the guardian has told
    guardian.extend(time.monotonic() + 1000.0)
    guardian.watch(second)
    guardian.close()  # to the guardian the same as the worker's death
    eventually(lambda: not is_alive(second))


def test_a_lease_that_ends_kills_what_is_watched_and_no_other(
    guardian: Guardian, group: Callable[[], int]
) -> None:
    """Watched groups die and are reported as killed; a forgotten one lives."""
    watched, forgotten = group(), group()
    guardian.watch(forgotten)
    guardian.watch(watched)
    guardian.forget(forgotten)
    assert not guardian.killed(watched)
    guardian.extend(time.monotonic() + 0.1)
    eventually(lambda: not is_alive(watched))
    assert guardian.killed(watched)
    assert not guardian.killed(forgotten)
    assert is_alive(forgotten)


def test_the_guardian_goes_on_after_a_kill(guardian: Guardian, group: Callable[[], int]) -> None:
    """Past the lease a new group is killed at once; under a new lease one lives until its end."""
    guardian.extend(time.monotonic() - 1)
    late = group()
    guardian.watch(late)
    eventually(lambda: not is_alive(late))
    until = time.monotonic() + 1
    guardian.extend(until)
    next_one = group()
    guardian.watch(next_one)
    eventually(lambda: not is_alive(next_one))
    assert time.monotonic() >= until
    assert guardian.killed(next_one)
    assert guardian.alive


def test_a_forgotten_kill_is_forgotten(guardian: Guardian, group: Callable[[], int]) -> None:
    """A number that comes back as another group's does not inherit the record."""
    one = group()
    guardian.watch(one)
    guardian.extend(time.monotonic())
    eventually(lambda: guardian.killed(one))
    guardian.forget(one)
    assert not guardian.killed(one)


def test_closing_kills_what_is_still_watched(group: Callable[[], int]) -> None:
    """The end of the guardian is the end of the attempts."""
    guardian = Guardian()
    one = group()
    guardian.watch(one)
    guardian.close()
    assert not guardian.alive
    eventually(lambda: not is_alive(one), what="the group is dead")


def test_closing_kills_what_a_guardian_that_hangs_does_not(group: Callable[[], int]) -> None:
    """Nobody is left behind because the guardian was too slow to notice the end."""
    guardian = Guardian()
    one = group()
    guardian.watch(one)
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGSTOP)
    guardian.close()
    assert not guardian.alive
    eventually(lambda: not is_alive(one), what="the group is dead")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_guardian_that_fails_is_replaced_by_one_that_knows_all(
    guardian: Guardian, group: Callable[[], int], number: signal.Signals
) -> None:
    """Dead or deaf, it is replaced at a next use, and groups known before are still guarded."""
    one = group()
    guardian.watch(one)
    first = guardian.pid
    assert first is not None
    os.kill(first, number)

    def replaced() -> bool:
        guardian.extend(time.monotonic() + 60)
        return guardian.pid not in (None, first)

    eventually(replaced)
    assert is_alive(one)
    guardian.extend(time.monotonic())
    eventually(lambda: not is_alive(one))
    assert guardian.killed(one)


def test_a_terminal_cannot_end_the_guardian(guardian: Guardian, group: Callable[[], int]) -> None:
    """SIGTERM, SIGINT and SIGHUP to everything around the worker leave it at its post."""
    process = guardian.pid
    assert process is not None
    one = group()
    guardian.watch(one)
    guardian.extend(time.monotonic())
    eventually(lambda: not is_alive(one))  # it has got as far as to ignore them
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(process, number)
    another = group()
    guardian.watch(another)
    eventually(lambda: not is_alive(another))
    assert guardian.pid == process


def test_a_killed_worker_takes_its_attempts_along(
    driver: tuple[subprocess.Popen[str], Path],
) -> None:
    """SIGKILL to the worker: its child and grandchild die, long before their lease would end."""
    process, file = driver
    pids = family(file)
    guardian = int(file.with_suffix(".guardian").read_text())
    assert is_alive(guardian)
    assert all(map(is_alive, pids))
    process.kill()
    eventually(lambda: not any(map(is_alive, pids)))
    eventually(lambda: not is_alive(guardian))


def test_without_a_guardian_the_child_still_dies_with_its_worker(
    driver: tuple[subprocess.Popen[str], Path],
) -> None:
    """Guardian and worker killed together: the kernel ends the child, busy as it is."""
    process, file = driver
    child, _ = family(file)
    process.send_signal(signal.SIGSTOP)  # so that it starts no new guardian
    eventually(lambda: is_stopped(process.pid))
    os.kill(int(file.with_suffix(".guardian").read_text()), signal.SIGKILL)
    process.kill()
    eventually(lambda: not is_alive(child))
    os.killpg(child, signal.SIGKILL)  # its own child, which nobody is left to kill


@pytest.mark.parametrize("lease", [LEASE])
def test_a_stopped_worker_loses_its_attempts_when_its_lease_ends(
    driver: tuple[subprocess.Popen[str], Path],
) -> None:
    """Extended leases keep the attempt alive; SIGSTOP ends them, the attempt dies while the worker
    is stopped, and after SIGCONT the worker knows that it was interrupted."""
    process, file = driver
    pids = family(file)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 1.25 * LEASE)
    assert all(map(is_alive, pids))
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: not any(map(is_alive, pids)))
    assert is_stopped(process.pid)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert output.startswith("lost True stopped by the guardian")
    assert process.returncode == 0


def test_a_kill_takes_what_left_the_group_along() -> None:
    """A process that made itself a session of its own is found below the group's leader."""
    command = ["sh", "-c", "setsid sleep 1000 & wait"]
    with subprocess.Popen(command, start_new_session=True) as leader:
        stray = eventually(
            lambda: [pid for pid in descendants(leader.pid) if os.getsid(pid) == pid]
        )
        kill_group(leader.pid)
    eventually(lambda: not any(map(is_alive, stray)))
