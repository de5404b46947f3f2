"""Attempts in child processes."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from masterworker import BadConfiguration
from masterworker.execution import frames, slots
from masterworker.execution.attempts import Outcome
from masterworker.execution.guardian import Guardian
from masterworker.execution.plugins import Plugins
from masterworker.execution.sandbox import Sandbox
from masterworker.execution.slots import ProcessRunner
from masterworker.words.executor import Executor
from masterworker.words.limits import MAX_DETAIL, MAX_PAYLOAD
from masterworker.words.model import Reason
from tests.unit.attempts_support import PLUGIN, Outcomes, is_alive, job
from tests.unit.throwaway_plugin import install
from tests.waiting import eventually

Start = Callable[..., ProcessRunner]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin whose executors misbehave."""
    folder = tmp_path_factory.mktemp("plugins")
    return install(folder, "throw_slots", PLUGIN, distribution="throw-slots", version="1.0")


@pytest.fixture(scope="module")
def executors(site: Path) -> dict[str, Executor]:
    """That plugin's executors, as a worker would have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        plugins = Plugins.load()
        sys.modules.pop("throw_slots")
    (record,) = [record for record in plugins.records if record.name == "throw_slots"]
    return plugins.executors([f"throw_slots:{name}" for name in record.executors])


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def start(site: Path, executors: dict[str, Executor], outcomes: Outcomes) -> Iterator[Start]:
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
def attempt(start: Start, outcomes: Outcomes) -> Callable[..., Outcome]:
    """Runs one attempt in a runner with one slot, the same for the whole test."""
    runner = start()

    def run(executor: str, payload: bytes | str = b"") -> Outcome:
        one = job(executor, payload)
        runner.start([one])
        return outcomes.of(one)

    return run


Attempt = Callable[..., Outcome]


def test_payloads_of_every_size_come_back(attempt: Attempt) -> None:
    """Payloads beyond a pipe's capacity, up to the limit, pass through whole, both ways."""
    for payload in (b"", b"hello", os.urandom(300_000), os.urandom(MAX_PAYLOAD)):
        outcome = attempt("echo", payload)
        assert (outcome.result, outcome.reason) == (payload, None)
        assert time.time() - 60 < outcome.started <= outcome.ended <= time.time()


def test_failures_are_told_apart_and_leave_the_child_alive(attempt: Attempt) -> None:
    """Exceptions, SystemExit, MemoryError and bad results fail the attempt, not the process."""
    child = attempt("pid").result
    outcome = attempt("fail", "luck")
    assert outcome.reason is Reason.FAILED
    assert outcome.detail.endswith("ValueError: no luck")
    assert attempt("leave").detail.endswith("SystemExit: out of here")
    assert attempt("out_of_memory").reason is Reason.OUT_OF_MEMORY
    assert "returned str, expected bytes" in attempt("text").detail
    assert "900,001 bytes" in attempt("too_much").detail
    assert attempt("pid").result == child


def test_a_child_that_exits_is_a_crash_with_its_last_words(attempt: Attempt) -> None:
    """The exit code and the end of stderr are the evidence, and the slot lives on."""
    outcome = attempt("exit", "3")
    assert (outcome.reason, outcome.interrupted) == (Reason.CRASHED, False)
    assert outcome.detail == "exit code 3\nlast words"
    assert attempt("echo", "next").result == b"next"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_child_killed_by_a_signal_is_a_crash_that_names_it(
    attempt: Attempt, number: signal.Signals
) -> None:
    """A segmentation fault shows where it happened; SIGKILL leaves only its name."""
    outcome = attempt("kill_self", str(int(number)))
    assert (outcome.reason, outcome.interrupted) == (Reason.CRASHED, False)
    assert outcome.detail.startswith(f"killed by {number.name}")
    assert ("in kill_self" in outcome.detail) == (number is signal.SIGSEGV)
    assert len(outcome.detail.encode()) <= MAX_DETAIL


def test_a_hang_that_holds_the_gil_ends_at_the_time_limit(attempt: Attempt) -> None:
    """C code that never returns is killed on time, and the next attempt finds a fresh child."""
    attempt("echo")
    began = time.monotonic()
    outcome = attempt("hang_in_c")
    assert 0.5 <= time.monotonic() - began < 5
    assert outcome.reason is Reason.TIMED_OUT
    assert "time limit of 0.5 s" in outcome.detail
    assert attempt("echo", "next").result == b"next"


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
    """Running attempts, their families and idle children's leftovers are gone; the queue too."""
    runner = start(count=2)
    leftover = job("leftover")
    runner.start([leftover])
    family = set(json.loads(outcomes.of(leftover).result or b""))
    runner.start([job("family", str(tmp_path / name)) for name in "abc"])
    eventually(lambda: len(runner.running()) == 2)
    family |= pids(tmp_path / "a") | pids(tmp_path / "b")
    runner.stop_all()
    assert not any(map(is_alive, family))
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
        one = replace(one, task=replace(one.task, sealed=key_id))
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
    assert pids(tmp_path / "a").isdisjoint(pids(tmp_path / "b"))
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


def test_a_child_sees_nothing_of_its_worker(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No MWCTL_ variable, no inherited descriptor, no kazoo; what the operator lists, it sees."""
    monkeypatch.setenv("MWCTL_AUTH", "digest:secret")
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.setenv("PYTHON_KEYRING_PASSWORD", "hidden")
    monkeypatch.setenv("NAMED", "by the operator")
    monkeypatch.setenv("SOMETHING_ELSE", "hidden")
    with (tmp_path / "open").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        runner = start(
            sandbox=Sandbox(pass_env=["NAMED"]),
            configs={"look": {"path": "/x", "depth": {"n": 1}}},
        )
        one = job("look")
        runner.start([one])
        seen = json.loads(outcomes.of(one).result or b"")
    environment = seen["environment"]
    assert not [name for name in environment if name.startswith("MWCTL_")]
    assert (environment["NAMED"], environment["PYTHONUTF8"]) == ("by the operator", "1")
    assert not {"SOMETHING_ELSE", "PYTHON_KEYRING_PASSWORD"} & environment.keys()
    assert seen["descriptors"]["0"] == "/dev/null"
    assert seen["descriptors"]["1"] == seen["descriptors"]["2"]
    beyond = [target for fd, target in seen["descriptors"].items() if int(fd) > 2]
    assert len(beyond) == 2, beyond  # one pipe in each direction
    assert all(target.startswith("pipe:") for target in beyond)
    assert seen["inheritable"] == []
    assert not {"kazoo", "click"} & set(seen["modules"])
    assert seen["ours"]
    config = {"checked": {"path": "/x", "depth": {"n": 1}}}
    assert seen["context"] == [one.task.id, "look", "w1", 2, 3.5, {"key": "value"}, config]


def test_prints_go_to_the_log_and_corrupt_nothing(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is printed, however much, results stay whole and each line is logged, cut short."""
    with caplog.at_level(logging.INFO, "masterworker.execution.process"):
        for _ in range(3):
            assert attempt("noisy", "result").result == b"result"
        eventually(lambda: caplog.text.count("from a command") == 3)
    assert "noisy task-" in caplog.text
    assert "raw to 1" in caplog.text
    assert "raw to 2" in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 1_100


def test_a_fork_cannot_answer_for_its_parent(attempt: Attempt) -> None:
    """A fork that returns from the executor ends, and only the child's own result counts."""
    assert attempt("fork").result == b"1"
    assert attempt("echo", "next").result == b"next"


def test_a_death_is_seen_while_a_fork_holds_the_pipes_open(attempt: Attempt) -> None:
    """The end of the pipe never comes, and yet the crash is known at once."""
    assert attempt("orphan").detail == "exit code 7"


def test_nonsense_on_the_pipe_is_a_crash(attempt: Attempt) -> None:
    """A child that no longer speaks the protocol is replaced."""
    outcome = attempt("scribble")
    assert outcome.reason is Reason.CRASHED
    assert "broke off the conversation" in outcome.detail
    assert attempt("echo", "next").result == b"next"


def test_answer_of_an_executors_making_is_a_crash(attempt: Attempt) -> None:
    """What an executor writes where only its child should: its attempt fails, the slot goes on."""
    answers = {
        b"\x81\xa1a" * 1_020 + b"\xc0": "which is no answer",  # too deep a nest for repr
        msgpack.packb({"result": bytes(MAX_PAYLOAD + 1)}): "which is no answer",
        msgpack.packb({"reason": "no reason", "detail": ""}): "which is no answer",
        b"\x81\xa1a" + b"\xdd\x00\x01\x00\x00" * 900: "broke off the conversation",
    }
    for packed, said in answers.items():
        outcome = attempt("answer", frames.LENGTH.pack(len(packed)) + packed)
        assert outcome.reason is Reason.CRASHED
        assert said in outcome.detail
        assert len(outcome.detail) < 400
    assert attempt("echo", "next").result == b"next"


def test_an_idle_child_that_died_costs_no_attempt(attempt: Attempt) -> None:
    """A warm child killed between two tasks is replaced before the next one is handed over."""
    child = int(attempt("pid").result or b"")
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not is_alive(child))
    assert attempt("echo", "next").result == b"next"


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
    family = pids(tmp_path / "pids")
    runner.close()
    assert not any(map(is_alive, family))
    runner.start([job("echo")])
    assert runner.held() == set()
    assert open_descriptors() <= before + 1  # the guardian's socket


def pids(file: Path) -> set[int]:
    """The processes that the executor `family` wrote down."""
    eventually(file.exists, 20, f"{file} to be written")
    return set(json.loads(file.read_text()))


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
