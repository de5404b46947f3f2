"""`mwctl` as process 1 of a container: it reaps, hears signals, and hands its exit code on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masterworker.dev.processes import Process, masterworker_command
from tests.integration.running import tree
from tests.waiting import DEADLINE, eventually

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

pytestmark = pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no new process namespaces here",
)

ORPHANS = """
import os, subprocess, time
from masterworker.cli.init import become_init
assert os.getpid() == 1
become_init()
assert os.getpid() != 1
subprocess.run(["sh", "-c", "for i in 1 2 3; do (sleep 0.1 &) ; done"])
own = [subprocess.run(["sh", "-c", "exit 3"]).returncode for _ in range(20)]
assert own == [3] * 20
def dead():
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                state = open(f"/proc/{folder}/stat").read().rpartition(") ")[2]
            except OSError:
                continue
            if state.split()[0] == "Z" or "sleep" in open(f"/proc/{folder}/comm").read():
                return True
deadline = time.monotonic() + 20
while dead() and time.monotonic() < deadline:
    time.sleep(0.01)
os._exit(4 if dead() else 42)
"""


def test_orphans_are_reaped_and_own_exit_codes_are_not_taken() -> None:
    """No zombie is left, `subprocess` sees what its children end with, and so does the caller."""
    ended = subprocess.run([*UNSHARE, sys.executable, "-c", ORPHANS], check=False, timeout=60)
    assert ended.returncode == 42


def test_an_end_by_a_signal_is_told_as_shells_do() -> None:
    """Process 1 cannot end itself by a signal: the exit code names it."""
    code = "import os; from masterworker.cli.init import become_init; become_init(); os.abort()"
    ended = subprocess.run(
        [*UNSHARE, sys.executable, "-c", code], check=False, timeout=60, cwd="/tmp"
    )
    assert ended.returncode == 128 + signal.SIGABRT


def test_a_worker_as_process_1_drains(hosts: str, tmp_path: Path) -> None:
    """A signal that the container is sent reaches the worker once, and it leaves in order."""
    env = {"MWCTL_HOSTS": hosts}
    command = [*UNSHARE, *masterworker_command("worker", "--executor=echo")]
    with tree(hosts) as kazoo, Process("worker", command, env, log=tmp_path / "log") as worker:
        eventually(lambda: kazoo.exists("/workers") and kazoo.get_children("/workers"))
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        [init] = [int(pid) for pid in children.read_text().split() if is_process_1(pid)]
        os.kill(init, signal.SIGTERM)
        assert worker.wait(DEADLINE) == 0
        assert worker.tail().count("stopping") == 1


def is_process_1(pid: str) -> bool:
    """Whether a process is number 1 in a namespace below ours."""
    status = Path(f"/proc/{pid}/status").read_text()
    [numbers] = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    return len(numbers) > 1 and numbers[-1] == "1"
