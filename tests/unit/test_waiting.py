"""Waiting for results: how many tasks are under way, and what becomes of each."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from masterworker.cli import inputs, waiting
from masterworker.cli.inputs import Inputs, Payload
from masterworker.cli.naming import Names
from masterworker.cli.progress import Progress
from masterworker.cli.waiting import Outcome, Submitted, Wait
from masterworker.roles.client import Client
from masterworker.roles.future import TaskFuture
from masterworker.words.errors import TaskFailed


class Cluster:
    """Takes tasks, and ends them in any order: with their payload, or as failed if it is b'bad'.

    `most` is how many were under way at a time, `acknowledged` whose results may be forgotten.
    """

    def __init__(self) -> None:
        self.under_way: list[tuple[TaskFuture, bytes]] = []
        self.most = 0
        self.acknowledged: list[str] = []
        self.submitted = 0

    def acknowledge(self, future: TaskFuture) -> None:
        """What the client does."""
        self.acknowledged.append(future.task_id)

    def submit(self, batch: Sequence[Payload]) -> list[Submitted]:
        """Take tasks. A few of those under way have ended meanwhile."""
        tasks = []
        for payload in batch:
            self.submitted += 1
            future = TaskFuture(f"8f14e45fceea167a-{self.submitted}")
            self.under_way.append((future, payload.data))
            source = payload.source
            tasks.append(Submitted(source.name, source.file, future, time.monotonic()))
        self.most = max(self.most, len(self.under_way))
        return tasks

    def work(self, random: random.Random) -> None:
        """End a task, whichever."""
        if self.under_way:
            future, payload = self.under_way.pop(random.randrange(len(self.under_way)))
            if payload == b"bad":
                future.fail(TaskFailed(future.task_id, "failed"))
            else:
                future.set_result(payload)


class WorkingWait(Wait):
    """Whenever it waits, a task ends."""

    cluster: Cluster
    random = random.Random(1)  # noqa: S311 - no secret

    def _take_in(self, patience: float | None) -> None:
        self.cluster.work(self.random)
        super()._take_in(0.0 if patience is None else patience)


def run(
    cluster: Cluster, files: Sequence[Path], output: Path | Names | None
) -> tuple[int, list[Outcome]]:
    """Wait for the tasks of these files; the exit code and the outcomes."""
    outcomes: list[Outcome] = []
    client = cast("Client", cast("Any", cluster))
    wait = WorkingWait(client, output, None, outcomes.append, Progress(shown=False))
    wait.cluster = cluster
    code = wait.run(
        Inputs([str(file) for file in files], [], None),
        cluster.submit,
        on_silence=lambda: None,
        explain=lambda _: {},
    )
    return code, outcomes


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Forty payloads, some of them bad."""
    made = [tmp_path / f"payload-{number}" for number in range(40)]
    for number, file in enumerate(made):
        file.write_text(f"<{number}>" if number % 7 else "bad")
    return made


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inputs, waiting):
        monkeypatch.setattr(module, "BATCH_COUNT", 3)
    monkeypatch.setattr(waiting, "WINDOW", 10)


def test_a_bounded_number_is_under_way_and_results_keep_their_order(
    files: list[Path], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """However tasks end, stdout has the results in the order of the payloads."""
    cluster = Cluster()
    code, outcomes = run(cluster, files, None)
    out, err = capfdbinary.readouterr()
    assert out.decode() == "".join(f"<{number}>" for number in range(40) if number % 7)
    assert cluster.most <= 10
    assert code == 3
    assert err.decode().splitlines()[-1] == "mwctl: 34 done, 6 failed"
    assert [one.payload for one in outcomes] == [str(file) for file in files]


def test_results_in_a_folder_are_written_as_they_come(files: list[Path], tmp_path: Path) -> None:
    """Each is acknowledged once it is written; a row tells where it is."""
    (tmp_path / "out").mkdir()
    cluster = Cluster()
    _, outcomes = run(cluster, files, Names(tmp_path / "out"))
    assert len(outcomes) == len(cluster.acknowledged) == 40
    for one in outcomes:
        if one.state == "done":
            assert one.output is not None
            assert one.output.read_bytes() == Path(one.payload).read_bytes()
        else:
            assert (one.state, one.reason, one.output) == ("failed", "failed", None)


def test_what_cannot_be_written_is_not_acknowledged(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is kept, and stderr says how to get it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / files[1].name).mkdir()
    cluster = Cluster()
    code, outcomes = run(cluster, files[:3], Names(tmp_path / "out"))
    [unwritten] = [one for one in outcomes if one.state == "unwritten"]
    assert unwritten.payload == str(files[1])
    assert unwritten.task not in cluster.acknowledged
    assert code == 3  # a failed task counts more
    told = capfd.readouterr().err
    assert "is done, but its result was not written." in told
    assert f"mwctl tasks result {unwritten.task}" in told


def test_a_file_that_vanished_is_told_and_the_rest_goes_on(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the names were checked."""
    (tmp_path / "out").mkdir()
    real = inputs._contents
    gone = files[1]

    def vanishing(path: Path) -> bytes:
        if path == gone:
            path.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(inputs, "_contents", vanishing)
    _, outcomes = run(Cluster(), files[1:4], Names(tmp_path / "out"))
    states = {one.payload: one.state for one in outcomes}
    assert states == {
        str(gone): "not submitted",
        str(files[2]): "done",
        str(files[3]): "done",
    }


def test_a_slow_task_holds_up_only_itself(tmp_path: Path, files: list[Path]) -> None:
    """Where results go to files, tasks behind a slow one make room for others."""
    (tmp_path / "out").mkdir()

    class Slow(Cluster):
        def work(self, random: random.Random) -> None:
            first = self.under_way[:1] if self.submitted < 40 else []
            del self.under_way[: len(first)]
            super().work(random)
            self.under_way[:0] = first

    cluster = Slow()
    _, outcomes = run(cluster, files, Names(tmp_path / "out"))
    assert len(outcomes) == 40
