"""Slots: jobs go to child processes and are stopped there; one that cannot run harms no other."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from masterworker import BadConfiguration
from masterworker.execution import children, slots, unable
from masterworker.execution.attempts import Outcome
from masterworker.execution.slots import ProcessRunner
from masterworker.words.executor import Offer
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


def test_a_defect_of_the_runner_ends_its_attempt_and_not_its_slot(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen exception in a slot's thread ends one attempt; the slot runs the next job."""
    runner = start()
    broken, sound = job("echo"), job("echo", "next")
    with monkeypatch.context() as defect:
        defect.setattr(slots, "_request", lambda _job: 1 / 0)
        runner.start([broken])
        outcome = outcomes.of(broken)
    assert outcome.reason is Reason.CRASHED
    assert "ZeroDivisionError" in outcome.detail
    runner.start([sound])
    assert outcomes.of(sound).result == b"next"


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
    with caplog.at_level(logging.INFO, "masterworker.execution.output"):
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


def test_an_executor_that_does_not_load_is_the_workers_trouble(
    start: Start, outcomes: Outcomes, executors: dict[str, Offer]
) -> None:
    """No attempt of it counts, its neighbour in the same plugin works, and it is named."""
    missing = Offer("missing", plugin="throw_slots", module="throw_slots")
    runner = start(executors=executors | {"missing": missing})
    jobs = [job("missing"), job("echo", "fine"), job("missing")]
    runner.start(jobs)
    for one in (jobs[0], jobs[2]):
        assert outcomes.of(one).reason is None
        assert "no longer registers 'missing'" in outcomes.of(one).unstarted
    assert outcomes.of(jobs[1]).result == b"fine"
    assert runner.unable().keys() == {"missing"}
    assert runner.held() == set()


def test_a_plugin_that_loads_again_is_run_again(
    start: Start,
    outcomes: Outcomes,
    site: Path,
    executors: dict[str, Offer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plugin that ends its child at import is tried again by itself until it loads; meanwhile its
    jobs come back at once, with evidence, and another plugin's attempts go on."""
    monkeypatch.setattr(unable, "FIRST", 0.05)
    broken = "import os, sys\nprint('bad import', file=sys.stderr)\nos._exit(9)\n"
    own = install(tmp_path, "throw_late", broken, distribution="throw-late", version="1")
    late = Offer("late", plugin="throw_late", module="throw_late")
    runner = start(
        executors=executors | {"late": late}, environment={"PYTHONPATH": f"{site}:{own}"}
    )
    refused, other = job("late"), job("echo", "other")
    runner.start([refused, other])
    why = outcomes.of(refused).unstarted
    assert "could not load plugin 'throw_late': exit code 9\nbad import" in why
    assert outcomes.of(other).result == b"other"
    at_once = job("late")
    runner.start([at_once])
    assert outcomes.of(at_once).unstarted
    install(tmp_path, "throw_late", LATE, distribution="throw-late", version="1")
    eventually(lambda: not runner.unable(), what="it loads")
    again = job("late", "again")
    runner.start([again])
    assert outcomes.of(again).result == b"again"


LATE = """
from masterworker import hookimpl

@hookimpl
def masterworker_register_executors(register):
    register("late", lambda payload, task: payload)
"""


def test_a_missing_interpreter_stops_every_executor_until_it_is_back(
    start: Start, outcomes: Outcomes, executors: dict[str, Offer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt counts, no executor is left out, no loop runs hot, and the first try is enough."""
    monkeypatch.setattr(unable, "FIRST", 0.05)
    runner = start()
    with monkeypatch.context() as moved:
        moved.setattr(sys, "executable", "/nowhere/bin/python")
        jobs = [job("echo"), job("pid")]
        runner.start(jobs)
        for one in jobs:
            outcome = outcomes.of(one)
            assert "no child process can be started" in outcome.unstarted
            assert "/nowhere/bin/python" in outcome.unstarted
        assert runner.unable().keys() == executors.keys()
    eventually(lambda: not runner.unable(), what="it is back")
    again = job("echo", "again")
    runner.start([again])
    assert outcomes.of(again).result == b"again"


def test_a_machine_without_room_for_threads_loses_no_task(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slot always has its thread; no attempt counts while children cannot have theirs."""
    monkeypatch.setattr(unable, "FIRST", 0.05)

    def no_room(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runner = start(count=3)
    runner.open()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_room)
        jobs = [job("echo"), job("pid")]
        runner.start(jobs)
        for one in jobs:
            assert "can't start new thread" in outcomes.of(one).unstarted
        assert runner.unable()
    eventually(lambda: not runner.unable(), what="there is room again")
    again = job("echo", "again")
    runner.start([again])
    assert outcomes.of(again).result == b"again"
    runner.close()


def test_a_defect_while_retrying_does_not_end_the_retries(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen exception costs one try."""
    monkeypatch.setattr(unable, "FIRST", 0.05)
    tries: list[object] = []

    def fail(*arguments: object) -> None:
        tries.append(arguments)
        raise (OSError if len(tries) == 1 else ZeroDivisionError)

    runner = start()
    with monkeypatch.context() as defect:
        defect.setattr(children, "ChildProcess", fail)
        wanted = job("echo")
        runner.start([wanted])
        assert outcomes.of(wanted).unstarted
        eventually(lambda: len(tries) >= 3, what="it is tried again")
    eventually(lambda: not runner.unable(), what="it works again")


def test_tasks_of_two_plugins_take_turns_without_a_start_for_each(
    start: Start, outcomes: Outcomes, site: Path, executors: dict[str, Offer], tmp_path: Path
) -> None:
    """Each plugin keeps a child of its own, which has loaded no other, and few are kept in all."""
    names = [f"throw_turn_{number}" for number in range(slots.SPARE + 2)]
    for name in names:
        own = install(tmp_path, name, TURN.format(name=name), distribution=name, version="1")
    offers = {name: Offer(name, plugin=name, module=name) for name in names}
    runner = start(executors=offers, environment={"PYTHONPATH": str(own)})

    def run(name: str) -> tuple[int, list[str]]:
        one = job(name)
        runner.start([one])
        pid, modules = json.loads(outcomes.of(one).result or b"")
        return pid, modules

    (first, of_first), (second, of_second) = run(names[0]), run(names[1])
    assert first != second
    assert (of_first, of_second) == ([names[0]], [names[1]])
    assert [run(name)[0] for name in names[:2] * 3] == [first, second] * 3
    for name in names[2:]:
        run(name)
    eventually(lambda: not is_alive(first), what="the one that waited longest is gone")
    assert run(names[1])[0] == second


TURN = """
import json, os, sys
from masterworker import hookimpl

@hookimpl
def masterworker_register_executors(register):
    register("{name}", lambda payload, task: json.dumps(
        [os.getpid(), [name for name in sys.modules if name.startswith("throw")]]
    ).encode())
"""


def test_a_configuration_that_cannot_travel_is_refused(start: Start) -> None:
    """What msgpack cannot say is the operator's to put right, before anything runs."""
    with pytest.raises(BadConfiguration, match="write values other than text"):
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
    """The attempt does not count: the task is for another worker, until there is room again."""
    monkeypatch.setattr(unable, "FIRST", 0.05)

    def no_room(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    runner = start()
    with monkeypatch.context() as full:
        full.setattr(children, "ChildProcess", no_room)
        wanted = job("echo")
        runner.start([wanted])
        outcome = outcomes.of(wanted)
        assert "Resource temporarily unavailable" in outcome.unstarted
        assert outcome.reason is None
    eventually(lambda: not runner.unable())
