"""A campaign from start to end: faults under load, time to settle, shutdown, analysis."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.faults import carry_out
from tests.chaos.journal import Journal
from tests.chaos.schedule import Cast, Fault, plan
from tests.chaos.stage import POLL, Stage, Tree
from tests.chaos.stalls import Lookout

SETTLE_DEADLINE: Final = 300.0
"""Seconds after the last fault within which every accepted task must have its status. An idle
machine needs five; one with forty processes waiting for two processors needs minutes."""

FAULTS_AT_A_TIME: Final = 16


@dataclass
class Progress:
    """The progress of a campaign. `elapsed` and `seconds` are of the load, in seconds."""

    phase: str = "starting"
    elapsed: float = 0.0
    seconds: float = 0.0
    planned: int = 0
    carried_out: int = 0
    skipped: int = 0


Tell = Callable[[Progress], None]


@dataclass
class Campaign:
    """One campaign, in its own run directory; `rate` is in tasks per second.

    `tell` is called continually with the progress.
    """

    run: Path
    seed: int
    minutes: float
    rate: float
    tell: Tell
    cast: Cast = field(default_factory=Cast)

    def carry_out(self) -> dict[str, Any]:
        """Run everything; return the run's settings. The directory can then be analysed."""
        self._open_directory()
        schedule = plan(self.seed, self.minutes, self.cast)
        self._write(
            "schedule.json",
            {"seed": self.seed, "faults": [fault.to_dict() for fault in schedule]},
        )
        progress = Progress(seconds=self.minutes * 60, planned=len(schedule))
        self.tell(progress)
        with Lookout(self.run, self.cast.session_timeout), Stage(self.run, self.cast) as stage:
            settings = self._settings(stage)
            settings["began"] = began = time.time()
            self._write("settings.json", settings)
            load_ends = began + self.minutes * 60
            stage.start_clients(self.rate, load_ends, self.seed)
            self._strike(stage, schedule, progress, load_ends)
            settings["load_ended"] = time.time()
            progress.phase = "settling"
            settings |= self._settle(stage, progress)
            settings["settled"] = time.time()
            progress.phase = "stopping"
            self.tell(progress)
        settings["stopped"] = time.time()
        self._write("settings.json", settings)
        return settings

    def _strike(
        self, stage: Stage, schedule: list[Fault], progress: Progress, load_ends: float
    ) -> None:
        """Carry out each fault at its time, and restart processes until the load ends."""
        progress.phase = "striking"
        journal = Journal(self.run / "faults.jsonl")
        began = time.monotonic()
        waiting = list(reversed(schedule))
        under_way: list[Future[bool]] = []
        with ThreadPoolExecutor(FAULTS_AT_A_TIME, "fault") as pool:
            try:
                while time.time() < load_ends or under_way:
                    stage.attend()
                    progress.elapsed = time.monotonic() - began
                    while waiting and progress.elapsed >= waiting[-1].at:
                        under_way.append(pool.submit(carry_out, stage, waiting.pop(), journal))
                    for fault in [fault for fault in under_way if fault.done()]:
                        under_way.remove(fault)
                        carried_out = fault.result()
                        progress.carried_out += carried_out
                        progress.skipped += not carried_out
                    self.tell(progress)
                    time.sleep(POLL)
            finally:
                stage.over.set()  # nobody waits for faults any more

    def _settle(self, stage: Stage, progress: Progress) -> dict[str, Any]:
        """Wait until all accepted tasks are done; return the content of each server's tree.

        `unsettled` means that this did not happen in time. Only the leader's tree counts;
        `diverged` names the servers that are up to date but have another one.
        """
        for actor in stage.actors:
            actor.heal()
        trees: dict[str, Tree | None] = {}

        def truth() -> Tree | None:
            leader = stage.leader()
            return trees.get(leader.name) if leader is not None else None

        def settled() -> bool:
            self.tell(progress)
            if not all(client.done for client in stage.clients):
                return False
            trees.update(stage.trees())
            tree = truth()
            return tree is not None and not tree.pending and not tree.assigned

        unsettled = False
        try:
            stage.until(settled, SETTLE_DEADLINE, "every accepted task has its status")
        except TimeoutError:
            unsettled = True
            trees.update(stage.trees())
        tree = truth()
        return {
            "unsettled": unsettled,
            "diverged": [name for name, other in trees.items() if other != tree],
            "trees": {name: other and other._asdict() for name, other in trees.items()},
        }

    def _settings(self, stage: Stage) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "minutes": self.minutes,
            "rate": self.rate,
            "session_timeout": self.cast.session_timeout,
            "tick": stage.tick,
            "masters": self.cast.masters,
            "workers": self.cast.workers,
            "clients": self.cast.clients,
        }

    def _open_directory(self) -> None:
        """Recreate the run's directory; the files of an earlier run are removed."""
        if (self.run / "schedule.json").exists():
            shutil.rmtree(self.run)
        self.run.mkdir(parents=True, exist_ok=True)

    def _write(self, name: str, content: Any) -> None:
        (self.run / name).write_text(json.dumps(content, indent=1) + "\n")
