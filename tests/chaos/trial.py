"""A trial: a short run of a few processes, directed by a test, in a run directory of its own.

It leaves the same files as a campaign, so the same analysis applies. Every process is started by
`saboteur`, broken as `variant` says at that moment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from masterworker import TaskFuture
from masterworker.dev.processes import Process
from masterworker.zookeeper.operations import Code, Delete
from tests.chaos import executors_plugin, journals, judge
from tests.chaos.journal import Journal
from tests.chaos.journals import Execution, Fault, Settings
from tests.chaos.saboteur import GO
from tests.chaos.stalls import Lookout
from tests.chaos.verdict import Verdict
from tests.integration.roles import TICK, TIMEOUT, Cluster
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

ROOT: Final = Path(__file__).parents[2]

STAYS: Final = 60.0
"""Seconds; the session timeout of a role that must be back when its test continues."""

LONG: Final = 100.0
"""Maximum seconds until a task is released: no test takes longer."""


class Trial(Cluster):
    """Real processes below one chroot of a real server whose files are in `server`."""

    def __init__(self, hosts: str, run: Path, server: Path) -> None:
        super().__init__(hosts, run)
        self.run = run
        self.variant = "sound"
        for folder in ("clients", "executions", "zookeeper"):
            (run / folder).mkdir()
        (run / "zookeeper" / "1").symlink_to(server)
        source = Path(executors_plugin.__file__).read_text()
        install(run, "chaos_executors", source, distribution="chaos", version="1.0")
        self._path = {"PYTHONPATH": f"{self.site}:{ROOT}"}
        self._faults = Journal(run / "faults.jsonl")
        self._lookout = Lookout(run, TIMEOUT)
        self._told = Journal(run / "clients" / f"client-0-{os.getpid()}.jsonl")
        self._tokens: dict[TaskFuture, str] = {}

    def __enter__(self) -> Self:
        self._lookout.start()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._lookout.stop()

    # --- processes ---------------------------------------------------------------------------

    def chaos_worker(self, number: int, *, timeout: float = STAYS, failpoint: str = "") -> Process:
        """A worker for the executors of the campaign, under its name there."""
        name = f"worker-{number}"
        both = ("chaos", "chaos-inline")
        return self.worker(*both, name=name, timeout=timeout, failpoint=failpoint)

    def waiting_client(self, hosts: str, timeout: float) -> Process:
        """A client process that connects, and submits when it is told to."""
        return self._run("client-1", "client", [hosts, str(self.run / "clients"), str(timeout)])

    def go(self) -> None:
        """Make the waiting client submit."""
        (self.run / "clients" / GO).touch()

    def _start(
        self, role: str, options: Sequence[str], hosts: str, timeout: float, failpoint: str
    ) -> Process:
        name = f"{role}-{len(self._processes)}"
        where = [f"--hosts={hosts or self.hosts}", f"--session-timeout={timeout}"]
        return self._run(name, role, [*where, *options], failpoint)

    def _run(self, name: str, role: str, arguments: Sequence[str], failpoint: str = "") -> Process:
        process = Process(
            name,
            [sys.executable, "-m", "tests.chaos.saboteur", self.variant, role, *arguments],
            {**self._path, "MWCTL_FAILPOINT": failpoint},
            log=self._folder / f"{name}.log",
        )
        self._processes.append(process)
        process.start()
        return process

    # --- what is done ------------------------------------------------------------------------

    def submit(self, count: int, *, executor: str = "chaos-inline", until: str = "") -> None:
        """Submit tasks, and return when they are accepted.

        They end at once, or, with `until`, when that is released.
        """
        tokens = [f"token-{len(self._tokens) + number}" for number in range(count)]
        for token in tokens:
            line = {"at": time.time(), "event": "submitting", "token": token}
            self._told.write(line | {"executor": executor})
        order = {"seconds": LONG, "until": until} if until else {"seconds": 0.0}
        payloads = [json.dumps({"token": token, **order}).encode() for token in tokens]
        futures = self.client.submit_many(payloads, executor=executor)
        self._tokens.update(zip(futures, tokens, strict=True))
        self.client.flush(30.0)

    def struck(self, kind: str, target: str, began: float, process: Process) -> None:
        """Record a fault that is over now."""
        fault = Fault(0, kind, target, began, time.time(), process.pid)
        self._faults.write(asdict(fault))

    def died(self, process: Process, target: str) -> None:
        """Wait until a process has killed itself at its failpoint, and record that."""
        began = time.time()
        process.wait(60.0)
        self.struck("kill", target, began, process)

    def remove(self, path: str) -> None:
        """End a session by hand, unless it has ended meanwhile."""
        refusal = self.session.commit([Delete(path)]).wait()
        assert refusal is None or refusal.code == Code.NO_NODE, refusal

    # --- what is so --------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until no task is pending or assigned."""
        eventually(self._settled, what="no task is pending or assigned")

    def executions_so_far(self) -> list[Execution]:
        """The executions that the workers have started so far."""
        return journals.executions(self.run)

    def verdict(self) -> Verdict:
        """The analysis of the whole trial; stalls are no longer watched for afterwards."""
        self._lookout.stop()
        for future, token in self._tokens.items():
            if future.done():
                line = {"at": time.time(), "event": "result", "token": token}
                told = {"task": future.task_id, "outcome": "succeeded", "reason": None}
                self._told.write(line | told | {"value": future.result().decode()})
        chroot = f"/{self.hosts.partition('/')[2]}"
        settings = Settings(chroot=chroot, session_timeout=TIMEOUT, tick=TICK)
        (self.run / "settings.json").write_text(json.dumps(asdict(settings)))
        return judge.judge_run(self.run)

    def _settled(self) -> bool:
        status = self.status()
        return not status.pending and not sum(status.assigned.values())
