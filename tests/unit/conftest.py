"""Attempts in child processes: a guardian, and runners of the plugin whose executors misbehave.

And clients that have no ZooKeeper.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masterworker.execution.attempts import Outcome
from masterworker.execution.guardian import Guardian
from masterworker.execution.plugins import Plugins
from masterworker.execution.slots import ProcessRunner
from masterworker.roles.account import Submission
from masterworker.roles.courier import Courier
from masterworker.words.executor import Offer
from tests.unit.attempts_support import PLUGIN, Outcomes, job
from tests.unit.throwaway_plugin import install


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    """A guardian's process."""
    guardian = Guardian()
    guardian.start()
    yield guardian
    guardian.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin whose executors misbehave."""
    folder = tmp_path_factory.mktemp("plugins")
    return install(folder, "throw_slots", PLUGIN, distribution="throw-slots", version="1.0")


@pytest.fixture(scope="module")
def executors(site: Path) -> dict[str, Offer]:
    """That plugin's executors, as a worker would have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        plugins = Plugins.probe(["throw_slots:echo"])
    (record,) = [record for record in plugins.records if record.name == "throw_slots"]
    return plugins.executors([f"throw_slots:{name}" for name in record.executors])


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def start(
    site: Path, executors: dict[str, Offer], outcomes: Outcomes
) -> Iterator[Callable[..., ProcessRunner]]:
    """Makes a runner of that plugin's executors, and closes it."""
    guardian = Guardian()
    runners: list[ProcessRunner] = []

    def make(count: int = 1, **settings: Any) -> ProcessRunner:
        settings.setdefault("executors", executors)
        environment = {"PYTHONPATH": str(site)}
        runner = ProcessRunner(
            count=count,
            guardian=guardian,
            on_outcome=outcomes,
            environment=environment | settings.pop("environment", {}),
            **settings,
        )
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.close()
    guardian.close()


@pytest.fixture
def attempt(start: Callable[..., ProcessRunner], outcomes: Outcomes) -> Callable[..., Outcome]:
    """Runs one attempt in a runner with one slot, the same for the whole test."""
    runner = start()

    def run(executor: str, payload: bytes | str = b"") -> Outcome:
        one = job(executor, payload)
        runner.start([one])
        return outcomes.of(one)

    return run


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[Submission]:
    """What the clients of a test post; they connect to nothing."""
    kept: list[Submission] = []

    def post(_courier: Courier, submissions: Iterable[Submission]) -> None:
        kept.extend(submissions)

    monkeypatch.setattr(Courier, "start", lambda _courier, _timeout: None)
    monkeypatch.setattr(Courier, "post", post)
    monkeypatch.setattr(atexit, "register", lambda _close: None)
    return kept
