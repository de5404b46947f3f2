"""One run: a cluster, a load on it, a worker that restarts, and a sample every few seconds.

before   a short load, then rest: the level of an idle cluster
load     the load itself
after    rest again: everything caused by the load must be gone
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from masterworker.decisions.audit import AuditReport
from masterworker.dev.cluster import Cluster
from masterworker.dev.processes import Process
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.session import Session

from .judge import Measured
from .load import CHILD_SHARE, FUNCTION
from .sampling import (
    Figures,
    heap_figures,
    jvm_figures,
    load_figures,
    process_figures,
    server_figures,
)

CONFIG: Final = f'[executors.python]\nallow = ["{FUNCTION}"]\n'
BEFORE, LOAD, AFTER = "before", "load", "after"


@dataclass(frozen=True)
class Plan:
    """The parameters. Seconds; a status and a client's ledger live for `ttl` of them."""

    tasks: int
    seconds: float
    every: float = 5.0
    warm_up: float = 20.0
    ttl: float = 30.0
    restart_every: float = 60.0
    heap_every: float = 60.0
    workers: int = 3
    masters: int = 2


@dataclass(frozen=True)
class Sample:
    """The figures of one moment, `time` seconds after the run began."""

    time: float
    phase: str
    figures: Figures


class Run:
    """One run, whose files lie in `directory`."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        self._began = time.monotonic()
        self._heap_due = 0.0
        self.samples: list[Sample] = []

    def run(self, tell: Callable[[str], None]) -> AuditReport:
        """Do everything; the samples are then in `samples` and in samples.jsonl."""
        plan = self._plan
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._cluster() as cluster:
            tell(f"the cluster runs; warming it up for {plan.warm_up:g} s")
            self._load(
                cluster, BEFORE, round(plan.warm_up * plan.tasks / plan.seconds), plan.warm_up
            )
            idle = self._rest(cluster, BEFORE)
            tell(f"idle with {idle:g} znodes; {plan.tasks:,} tasks in {plan.seconds:g} s")
            self._load(cluster, LOAD, plan.tasks, plan.seconds)
            tell("the load has ended; waiting until the cluster is idle again")
            self._rest(cluster, AFTER, idle)
            return audit(cluster.hosts)

    @contextmanager
    def _cluster(self) -> Iterator[Cluster]:
        config = self._directory / "worker.toml"
        config.write_text(CONFIG)
        os.environ["MWCTL_STATUS_TTL"] = os.environ["MWCTL_FOLDER_TTL"] = str(self._plan.ttl)
        with Cluster(
            masters=self._plan.masters,
            workers=self._plan.workers,
            executors=["echo", "python"],
            config=config,
            data_dir=self._directory / "cluster",
        ) as cluster:
            yield cluster
        shutil.rmtree(self._directory / "cluster" / "zookeeper" / "data")  # a gigabyte of log

    def _load(self, cluster: Cluster, phase: str, tasks: int, seconds: float) -> None:
        """Sample and restart a worker now and then, until the load has ended.

        The load before the first rest starts every slot, so that the idle level includes them.
        """
        lines = self._directory / f"{phase}.jsonl"
        options = {
            "hosts": cluster.hosts,
            "tasks": tasks,
            "seconds": seconds,
            "every": self._plan.every,
            "child-share": CHILD_SHARE if phase == LOAD else 0.5,
            "output": lines,
        }
        command = [sys.executable, "-m", "tests.soak.load"]
        command += [f"--{name}={value}" for name, value in options.items()]
        load = Process("load", command, log=self._directory / "load.log")
        restarted = time.monotonic()
        with load:
            while load.alive:
                if phase == LOAD:
                    self._sample(
                        cluster, phase, load_figures(lines) | process_figures("load", load.pid)
                    )
                    if time.monotonic() - restarted > self._plan.restart_every:
                        restarted = time.monotonic()
                        restart(cluster.workers[-1])
                self._pause(load)
        if load.exit_code != 0:
            raise RuntimeError(f"{load} ended with {load.exit_code}:\n{load.tail()}")
        if phase == LOAD:
            self._sample(cluster, phase, load_figures(lines))

    def _pause(self, load: Process) -> None:
        try:
            load.wait(self._plan.every)
        except TimeoutError:
            return

    def _rest(self, cluster: Cluster, phase: str, idle: float | None = None) -> float:
        """Wait until the master has cleaned up, take samples, and return the count of znodes.

        A client's last status is removed one time to live after it arrived, its ledger another one
        later; the master checks every tenth of that, or at least every minute.
        """
        until = time.monotonic() + 4 * self._plan.ttl + 60
        while time.monotonic() < until:
            time.sleep(self._plan.every)
            znodes = server_figures(cluster.zookeepers[0].port).get("zookeeper.znodes", 0.0)
            folders = self._folders(cluster)
            if folders == 0 and (idle is None or znodes <= idle):
                break
        for _ in range(3):
            self._sample(cluster, phase, {})
            time.sleep(self._plan.every / 5)
        return self.samples[-1].figures["zookeeper.znodes"]

    def _folders(self, cluster: Cluster) -> int:
        session = Session(cluster.hosts)
        session.start()
        try:
            return len(session.children("/status").wait() or [])
        finally:
            session.close()

    def _sample(self, cluster: Cluster, phase: str, more: Figures) -> None:
        figures = dict(more)
        named = {process.name: process for process in [*cluster.masters, *cluster.workers[:-1]]}
        for name, process in {**named, "restarted": cluster.workers[-1]}.items():
            if process.alive:
                figures |= process_figures(name, process.pid)
        server = cluster.zookeepers[0]
        figures |= server_figures(server.port) | jvm_figures(server.pid)
        if time.monotonic() >= self._heap_due:
            figures |= heap_figures(server.pid)
            self._heap_due = time.monotonic() + self._plan.heap_every
        sample = Sample(round(time.monotonic() - self._began, 2), phase, figures)
        self.samples.append(sample)
        with (self._directory / "samples.jsonl").open("a") as lines:
            lines.write(json.dumps({"time": sample.time, "phase": phase, **figures}) + "\n")


def restart(worker: Process) -> None:
    """Drain a worker and start it again: its registration goes and a new one comes."""
    worker.terminate()
    worker.wait(30)
    worker.start()


def audit(hosts: str) -> AuditReport:
    """Whether nothing was lost and nothing recorded twice."""
    session = Session(hosts)
    session.start()
    try:
        return Auditor(session).report()
    finally:
        session.close()


def measured(samples: Sequence[Sample]) -> list[Measured]:
    """The samples by figure, and what the tasks between two samples cost."""
    figures: dict[str, Measured] = {}
    for sample, more in zip(samples, [{}, *costs(samples)], strict=True):
        for name, value in (sample.figures | more).items():
            figure = figures.setdefault(name, Measured(name))
            if sample.phase == LOAD:
                figure.load.append((sample.time, value))
            else:
                (figure.before if sample.phase == BEFORE else figure.after).append(value)
    return [figures[name] for name in sorted(figures)]


def costs(samples: Sequence[Sample]) -> Iterator[Figures]:
    """For each sample but the first: seconds of CPU per 1,000 tasks since the one before it."""
    for last, this in pairwise(samples):
        tasks = this.figures.get("tasks.done", 0) - last.figures.get("tasks.done", 0)
        yield {
            f"{name}-per-1000-tasks": 1000 * (seconds - last.figures[name]) / tasks
            for name, seconds in this.figures.items()
            if name.endswith(".cpu") and tasks > 0 and 0 <= last.figures.get(name, -1) <= seconds
        }
