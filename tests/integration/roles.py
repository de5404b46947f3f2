"""A cluster of real processes on a real ZooKeeper, and a record of what they did."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from masterworker import Client
from masterworker.decisions.audit import AuditReport
from masterworker.dev.processes import Process, masterworker_command
from masterworker.words import paths
from masterworker.words.errors import ConnectionLost
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.views import ClusterStatus
from tests.integration import ledger_plugin
from tests.unit.throwaway_plugin import install
from tests.waiting import DEADLINE, eventually

TIMEOUT = 1.5  # seconds; a role's session, unless a test says otherwise
DOOMED = 4.0  # seconds; the session of a role whose end is waited for, and that must not end before
TICK = 0.5  # seconds; of the server in tests/conftest.py, which ends sessions up to one tick late
PATIENT = 8.0  # seconds; the session of a role that is to outlive its test's pauses
LASTING = 60.0  # seconds; of one that nothing in its test may end, however slow the machine is
OUTSIDE = 20.0  # seconds; of the test's own, which outlives those it looks at

NOISE = 4.0
"""Seconds a bound on time is widened by, for a machine that is busy with other things: the start of
a task waits for a new Python process. On an idle one recovery is within its bound without this."""


def recovery(timeout: float) -> float:
    """Seconds from the death of a worker with this session to the start of its task elsewhere."""
    return timeout + TICK + 1.0 + NOISE


RECOVERY = recovery(TIMEOUT)


@dataclass
class Execution:
    """One run of an executor, in monotonic seconds, which all processes of a machine share.

    `end` is None if it never returned; `seen` is when it last gave a sign of life.
    """

    task: str
    attempt: int
    worker: str
    start: float
    seen: float
    end: float | None = None


def read_ledger(file: Path) -> list[Execution]:
    """The executions in their order. A line cut short, of a process just writing, is left out."""
    runs: dict[str, Execution] = {}
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    for line in lines:
        if not line.endswith("\n"):
            break
        entry = json.loads(line)
        time = entry["time"]
        if entry["event"] == "start":
            runs[entry["run"]] = Execution(
                entry["task"], entry["attempt"], entry["worker"], start=time, seen=time
            )
        else:
            run = runs[entry["run"]]
            run.seen = time
            run.end = time if entry["event"] == "end" else None
    return list(runs.values())


class Cluster:
    """Masters and workers as processes, a client in this one, and an outside view of the tree.

    What it starts is ended with it. `client` submits, `session` reads; `site` is a folder that
    every role has on its Python path. `timeout` is that of a role's session, unless it is given
    another.
    """

    def __init__(self, hosts: str, folder: Path, timeout: float = TIMEOUT) -> None:
        self.hosts = hosts
        self._timeout = timeout
        self.session = Session(hosts, timeout=OUTSIDE)
        self.client: Client
        self._folder = folder
        self._processes: list[Process] = []
        source = Path(ledger_plugin.__file__).read_text()
        self.site = install(folder, "ledger_plugin", source, distribution="ledger", version="1.0")

    def __enter__(self) -> Self:
        self.session.start()
        self.session.ensure_tree()
        self.client = Client(self.hosts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.alive:
                process.kill()
            sys.stderr.write(f"--- {process}\n{process.tail()}\n")  # pytest shows it on failure
        self.client.close(1.0)
        self.session.close()

    # --- processes ---------------------------------------------------------------------------

    def master(
        self,
        *options: str,
        hosts: str = "",
        timeout: float | None = None,
        failpoint: str = "",
    ) -> Process:
        """Start a master. `hosts` is another way to the same tree, `failpoint` where it ends."""
        return self._start("master", options, hosts, timeout or self._timeout, failpoint)

    def worker(
        self,
        *executors: str,
        slots: int = 4,
        name: str = "",
        grace: float = 30.0,
        hosts: str = "",
        timeout: float | None = None,
        failpoint: str = "",
    ) -> Process:
        """Start a worker for these executors."""
        name = name or f"w{len(self._processes)}"
        options = ["--slots", str(slots), "--name", name, "--grace", str(grace)]
        for executor in executors:
            options += ["--executor", executor]
        return self._start("worker", options, hosts, timeout or self._timeout, failpoint)

    def _start(
        self, role: str, options: Sequence[str], hosts: str, timeout: float, failpoint: str
    ) -> Process:
        name = f"{role}-{len(self._processes)}"
        where = ["--hosts", hosts or self.hosts, "--session-timeout", str(timeout)]
        env = {"PYTHONPATH": str(self.site), "MWCTL_FAILPOINT": failpoint}
        process = Process(
            name,
            masterworker_command(role, *where, *options),
            env,
            log=self._folder / f"{name}.log",
        )
        self._processes.append(process)
        process.start()
        return process

    # --- what is so --------------------------------------------------------------------------

    def status(self) -> ClusterStatus:
        """The cluster's status, as soon as ZooKeeper answers."""

        def seen() -> ClusterStatus | None:
            with contextlib.suppress(ConnectionLost):  # it may break again while we ask
                return Inspection(self.session).status() if self.session.connected else None
            return None

        status = eventually(seen, 30.0, what="the test itself is connected")
        assert status is not None
        return status

    def in_office(self, master: Process) -> int:
        """Wait until this master is primary; return its epoch."""

        def epoch() -> int:
            status = self.status()
            return status.epoch if status.primary and status.primary.pid == master.pid else 0

        return eventually(epoch, what=f"{master} is in office")

    def ready(self, worker: Process) -> str:
        """Wait until this worker is registered; return its id."""

        def found() -> str:
            workers = self.status().workers.items()
            return next((name for name, one in workers if one.pid == worker.pid), "")

        return eventually(found, what=f"{worker} is registered")

    def assigned_to(self, worker: str) -> list[str]:
        """The tasks in a worker's folder now."""
        return self.session.children(paths.assignments(worker)).wait() or []

    def stopped(self, process: Process) -> None:
        """Wait until the process has stopped itself at its failpoint."""
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T",
            what=f"{process} stopped at its failpoint",
        )

    def says(self, process: Process, text: str) -> None:
        """Wait until the process has logged this text."""
        eventually(lambda: text in process.log.read_text(), what=f"{process} says {text!r}")

    # --- executions --------------------------------------------------------------------------

    def release(self, name: str) -> None:
        """Let the attempts that wait for this file continue."""
        (self.site / name).touch()

    def executions(self, task: str = "") -> list[Execution]:
        """The executions so far, of one task or of all, in the order of their start."""
        runs = read_ledger(self.site / "ledger.jsonl")
        return [run for run in runs if task in ("", run.task)]

    def by_task(self) -> dict[str, list[Execution]]:
        """The executions of each task that ran."""
        tasks: dict[str, list[Execution]] = {}
        for run in self.executions():
            tasks.setdefault(run.task, []).append(run)
        return tasks

    def started(self, task: str, worker: str = "", deadline: float = DEADLINE) -> Execution:
        """Wait for the start of a task, on this worker if one is named."""

        def first() -> Execution | None:
            runs = self.executions(task)
            return next((run for run in runs if worker in ("", run.worker)), None)

        found = eventually(first, deadline, what=f"task {task} starts on {worker or 'a worker'}")
        assert found is not None
        return found

    def judge(self, accepted: int) -> None:
        """Audit the tree: that many tasks accepted, none left, lost or recorded twice."""

        def settled() -> bool:
            status = self.status()
            return not status.pending and not sum(status.assigned.values())

        eventually(settled, what="no task is pending or assigned")

        def told() -> AuditReport | None:
            """The audit's report while no client takes a status."""
            report = Auditor(self.session).report()
            settled = report.taken + report.finished + report.expired
            return report if settled == report.accepted or not report.ok else None

        report = eventually(told, what="the books are still")
        assert report is not None
        assert report.ok, report
        assert (report.lost, report.recorded_twice) == (0, 0), report
        assert report.accepted == accepted, report
