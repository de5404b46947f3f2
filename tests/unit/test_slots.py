"""Slots: jobs go to child processes and are stopped there; one that cannot run harms no other."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from masterworker import BadConfiguration
from masterworker.execution import slots
from masterworker.execution.attempts import Outcome
from masterworker.execution.slots import ProcessRunner
from masterworker.words.executor import Executor
from masterworker.words.model import Reason
from tests.unit.attempts_support import Outcomes, is_alive, job
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

Start = Callable[..., ProcessRunner]


def test_stop_kills_the_attempt_and_what_it_started(
    start: Start, outcomes: Outcomes, tmp_path: Path
) -> None:
    """The child and its own child die, no outcome comes, and the task can be run again."""
    runner = start()
    one = job("family", str(tmp_path / "pids"))
    runner.start([one])
    family = pids(tmp_path / "pids")
    assert all(map(is_alive, family))
    runner.stop(one.task.id)
    assert runner.held() == set()
    eventually(lambda: not any(map(is_alive, family)))
    again = job("echo", "again", task_id=one.task.id)
    runner.start([again])
    assert outcomes.of(again).result == b"again"


def test_stop_all_returns_when_everything_is_dead(
    start: Start, outcomes: Outcomes, tmp_path: Path
) -> None:
    """Running attempts are gone, and the queue; their families and idle children's leftovers are
    dying: what was killed together need not end together."""
    runner = start(count=2)
    leftover = job("leftover")
    runner.start([leftover])
    families = [json.loads(outcomes.of(leftover).result or b"")]
    runner.start([job("family", str(tmp_path / name)) for name in "abc"])
    eventually(lambda: len(runner.running()) == 2)
    families += [pids(tmp_path / name) for name in "ab"]
    runner.stop_all()
    assert not any(is_alive(child) for child, _ in families)
    eventually(lambda: not any(is_alive(grandchild) for _, grandchild in families))
    assert runner.held() == set()
    assert len(outcomes.batches) == 1


def test_a_warm_child_is_used_again_until_it_is_recycled(start: Start, outcomes: Outcomes) -> None:
    """Two attempts share a process; then a new one takes over, and leftovers go with the old."""
    runner = start(recycle_after=2)
    jobs = [job("pid"), job("leftover"), job("pid")]
    runner.start(jobs)
    first, second, third = (json.loads(outcomes.of(one).result or b"") for one in jobs)
    assert second[0] == first
    assert third != first
    eventually(lambda: not any(map(is_alive, second)))


def test_a_child_serves_tasks_of_one_key_and_its_output_is_not_logged(
    start: Start, outcomes: Outcomes, caplog: pytest.LogCaptureFixture
) -> None:
    """What it holds or has printed of sealed tasks reaches no log and no other's evidence."""
    runner = start()

    def run(executor: str, key_id: str) -> Outcome:
        one = job(executor, "1")
        one = one._replace(task=one.task._replace(sealed=key_id))
        runner.start([one])
        return outcomes.of(one)

    first, second, other, plain = (run("pid", key).result for key in ("k", "k", "k2", ""))
    assert first == second
    assert len({first, other, plain}) == 3
    with caplog.at_level(logging.INFO, "masterworker.execution.process"):
        assert run("noisy", "k").result == b"1"
        assert "last words" in run("exit", "k").detail
        assert run("noisy", "").result == b"1"
        eventually(lambda: "from a command" in caplog.text)
    assert caplog.text.count("from a command") == 1
    assert "last words" not in caplog.text


def test_slots_work_side_by_side_and_no_more_than_counted(
    start: Start, outcomes: Outcomes, tmp_path: Path
) -> None:
    """Two slots run two attempts at a time; withdraw hands the third back, and only it."""
    runner = start(count=2)
    jobs = [job("family", str(tmp_path / name)) for name in "abc"]
    runner.start(jobs)
    assert set(pids(tmp_path / "a")).isdisjoint(pids(tmp_path / "b"))
    assert runner.withdraw() == [jobs[2].task.id]
    assert runner.held() == runner.running() == {one.task.id for one in jobs[:2]}
    assert not (tmp_path / "c").exists()


def test_one_job_after_another_needs_one_child(start: Start, outcomes: Outcomes) -> None:
    """Children are started when they are needed, not because there is room."""
    runner = start(count=4)
    seen = set()
    for _ in range(5):
        one = job("pid")
        runner.start([one])
        seen.add(outcomes.of(one).result)
    assert len(seen) == 1


def test_a_plugin_that_does_not_load_fails_its_own_tasks_only(
    start: Start, outcomes: Outcomes, executors: dict[str, Executor]
) -> None:
    """An executor that the child lacks fails with the reason; its neighbour works."""
    missing = Executor("missing", lambda *_: b"", plugin="throw_slots")
    runner = start(executors=executors | {"missing": missing})
    jobs = [job("missing"), job("echo", "fine")]
    runner.start(jobs)
    outcome = outcomes.of(jobs[0])
    assert outcome.reason is Reason.FAILED
    assert "no executor 'throw_slots:missing'" in outcome.detail
    assert outcomes.of(jobs[1]).result == b"fine"


def test_a_plugin_that_kills_the_child_at_import_fails_the_job(
    start: Start, outcomes: Outcomes, tmp_path: Path
) -> None:
    """Each job costs one try: evidence instead of a hot loop."""
    source = "import os, sys\nprint('bad import', file=sys.stderr)\nos._exit(9)\n"
    deadly = install(tmp_path, "throw_deadly", source, distribution="throw-deadly", version="1")
    runner = start(environment={"PYTHONPATH": str(deadly)})
    jobs = [job("echo"), job("echo")]
    runner.start(jobs)
    for one in jobs:
        outcome = outcomes.of(one)
        assert outcome.reason is Reason.CRASHED
        assert "could not load the worker's plugins: exit code 9\nbad import" in outcome.detail
    assert runner.held() == set()


def test_a_configuration_that_cannot_travel_is_refused(start: Start) -> None:
    """What msgpack cannot say is the operator's to put right, before anything runs."""
    with pytest.raises(BadConfiguration, match="write what is not text"):
        start(configs={"look": {"day": dt.date(2024, 1, 1)}})


def test_close_ends_everything_and_takes_nothing_more(
    start: Start, outcomes: Outcomes, tmp_path: Path
) -> None:
    """After close no process is left, no descriptor is, and jobs are not taken."""
    before = open_descriptors()
    runner = start(count=2)
    runner.start([job("family", str(tmp_path / "pids")), job("echo")])
    child, grandchild = pids(tmp_path / "pids")
    runner.close()
    assert not is_alive(child)
    eventually(lambda: not is_alive(grandchild))
    runner.start([job("echo")])
    assert runner.held() == set()
    assert open_descriptors() <= before + 1  # the guardian's socket


def pids(file: Path) -> list[int]:
    """The processes that the executor `family` wrote down: the child and its own child."""
    eventually(file.exists, 60, f"{file} to be written")
    family: list[int] = json.loads(file.read_text())
    return family


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_machine_without_room_for_processes_fails_no_task(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt counts as interrupted, to be made again, and only after a while."""

    def no_room(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(slots, "ChildProcess", no_room)
    monkeypatch.setattr(slots, "BACK_OFF", 0.05)
    runner = start()
    wanted = job("echo")
    runner.start([wanted])
    outcome = outcomes.of(wanted)
    assert outcome.interrupted
    assert outcome.reason is None


def test_a_slot_that_backs_off_keeps_no_job_from_another(
    start: Start,
    outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A slot that falls idle while another waits for processes is given the next job at once."""
    monkeypatch.setattr(slots, "BACK_OFF", 600.0)
    runner = start(count=2)
    hangs, refused, late = job("family", str(tmp_path / "pids")), job("echo"), job("echo", "late")
    runner.start([hangs])
    pids(tmp_path / "pids")
    with monkeypatch.context() as full:

        def no_room(*_: object) -> None:
            raise BlockingIOError("no more processes")

        full.setattr(ProcessRunner, "_new_child", no_room)
        runner.start([refused])
        eventually(lambda: "no child process" in caplog.text, what="a slot backs off")
    runner.stop(hangs.task.id)
    waiters = runner._changed._waiters  # type: ignore[attr-defined]
    eventually(lambda: len(waiters) == 2, what="the other is idle")
    runner.start([late])
    assert outcomes.of(late).result == b"late"
