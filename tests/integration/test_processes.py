"""Child processes: they die with their parent, and leave their output as evidence."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from masterworker.dev.processes import TAIL_BYTES, Process
from tests.waiting import eventually

PARENT = """
import sys
from pathlib import Path
from masterworker.dev.processes import Process

child = Process("sleeper", ["sleep", "600"], log=Path(sys.argv[1]))
child.start()
if sys.argv[2] == "paused":
    child.pause()
print(child.pid, flush=True)
sys.stdin.read()
"""


def runs(pid: int) -> bool:
    """Whether the process exists and has not ended yet (an orphan may stay behind as a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def python(code: str, log: Path, env: dict[str, str] | None = None) -> Process:
    """A process that runs a piece of Python."""
    return Process("example", [sys.executable, "-c", code], env, log=log)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_killed_parent_takes_its_child_along(tmp_path: Path, state: str) -> None:
    """SIGKILL leaves the parent no chance to clean up; the child is gone nevertheless."""
    argv = [sys.executable, "-c", PARENT, str(tmp_path / "log"), state]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
    eventually(lambda: not runs(child), what=f"child {child} is gone")


def test_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The end of a thread is not the end of the parent."""
    child = Process("sleeper", ["sleep", "600"], log=tmp_path / "log")
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    with pytest.raises(TimeoutError, match=r"process sleeper .* is still running"):
        child.wait(0.2)
    child.stop()
    assert child.exit_code == -15


def test_exit_code_output_and_environment(tmp_path: Path) -> None:
    """The command's own exit code comes back; its output is appended run by run."""
    code = "import os, sys; print(os.environ['WORD']); sys.exit(int(sys.stdin.read() or 3))"
    process = python(code, tmp_path / "log", {"WORD": "evidence"})
    for runs_so_far in (1, 2):
        process.start()
        assert process.wait(10) == 3
        assert not process.alive
        assert process.tail() == "\n".join(["evidence"] * runs_so_far)
    assert process.tail(lines=1) == "evidence"


def test_tail_is_bounded(tmp_path: Path) -> None:
    """A flood of output does not flood the message that shows its end."""
    with python("print('x' * 100_000)", tmp_path / "log") as process:
        process.wait(10)
    assert len(process.tail()) < TAIL_BYTES


def test_pause_and_resume(tmp_path: Path) -> None:
    """A paused process does nothing, and continues where it was."""
    code = "import time\nwhile True: print('tick', flush=True); time.sleep(0.005)"
    with python(code, tmp_path / "log") as process:
        eventually(process.tail, what="the first tick")
        process.pause()
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: stat.read_text().split()[2] == "T", what="the process is stopped")
        size = process.log.stat().st_size
        process.resume()
        eventually(lambda: process.log.stat().st_size > size, what="the next tick")


def test_pausing_what_has_ended_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may learn of the end between a look and the wait for the pause."""
    with python("", tmp_path / "log") as process:
        process.wait(60)
        monkeypatch.setattr(Process, "alive", True)
        process.pause()
        monkeypatch.undo()


def test_stop_kills_what_does_not_end(tmp_path: Path) -> None:
    """A process that ignores SIGTERM gets its grace period, then SIGKILL."""
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    )
    with python(code, tmp_path / "log") as process:
        eventually(lambda: process.log.stat().st_size, what="SIGTERM is ignored")
        process.stop(grace=0.1)
        assert process.exit_code == -9


def test_running_process_is_not_started_twice(tmp_path: Path) -> None:
    """A second start would lose track of the first."""
    with (
        Process("sleeper", ["sleep", "600"], log=tmp_path / "log") as process,
        pytest.raises(RuntimeError, match=rf"sleeper \(pid {process.pid}\) is already running"),
    ):
        process.start()
    assert not runs(process.pid)
