"""A worker that cannot run an executor for a while: its tasks move, and none is lost."""

from __future__ import annotations

import sys
from pathlib import Path

from masterworker.dev.processes import Process
from masterworker.words.executor import Executor
from masterworker.words.model import State, Worker
from tests.integration.running import client, inspection, master, worker
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

PLUGIN = """
from masterworker import hookimpl

@hookimpl
def masterworker_register_executors(register):
    register("heavy", lambda payload, task: payload)
"""


def process(hosts: str, name: str, python: Path, folder: Path) -> Process:
    """A worker of this interpreter, for `echo` and `heavy`."""
    site = install(folder, "heavy", PLUGIN, distribution="heavy", version="1")
    command = [str(python), "-m", "masterworker", "worker", f"--hosts={hosts}", f"--name={name}"]
    command += ["--executor=echo", "--executor=heavy", "--slots=2"]
    return Process(name, command, {"PYTHONPATH": str(site)}, log=folder / f"{name}.log")


def announced(hosts: str, name: str) -> Worker | None:
    """A worker's record, once it is there."""
    with inspection(hosts) as look:
        workers = look.status().workers
    return next((one for id_, one in workers.items() if id_.startswith(name)), None)


def test_a_worker_whose_environment_is_moved_away_hands_back_and_recovers(
    hosts: str, tmp_path: Path
) -> None:
    """It offers inline executors only until its interpreter is back, and says why; its tasks go to
    another worker without an attempt that counts."""
    environment = tmp_path / "venv"
    environment.symlink_to(sys.prefix)
    moved = process(hosts, "moved", environment / "bin" / "python", tmp_path)
    heavy = Executor("heavy", lambda payload, _: payload, inline=True)
    with master(hosts), client(hosts) as submitter, moved:
        eventually(lambda: announced(hosts, "moved"), what="it is ready")
        environment.unlink()
        futures = submitter.submit_many([b"a", b"b"], executor="heavy")
        eventually(
            lambda: (one := announced(hosts, "moved")) and "heavy" in one.unavailable,
            what="it no longer offers what it cannot run",
        )
        assert submitter.submit(b"inline", executor="echo").result(20) == b"inline"

        def waits() -> str:
            with inspection(hosts) as look:
                view = look.task(futures[0].task_id)
            return view.why if view.state is State.PENDING and not view.history else ""

        why = eventually(waits, what="the task is pending again")
        assert "no worker can run executor 'heavy' at present; worker moved-" in why
        assert "No such file or directory" in why
        with worker(hosts, heavy):
            assert [future.result(30) for future in futures] == [b"a", b"b"]
        environment.symlink_to(sys.prefix)
        eventually(
            lambda: (one := announced(hosts, "moved")) and "heavy" in one.executors,
            60,
            what="it offers everything again",
        )
        assert submitter.submit(b"c", executor="heavy").result(20) == b"c"
    assert (tmp_path / "moved.log").read_text().count("handing back") <= 4
