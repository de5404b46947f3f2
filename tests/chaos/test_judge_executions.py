"""The analysis finds attempts that overlap or have no cause, and processes that gave up."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.journals import (
    End,
    Fault,
    stall,
)
from tests.chaos.scene import (
    BEGAN,
    OTHER,
    WORKER,
    Scene,
    broken,
    run,
    verdict,
)
from tests.chaos.verdict import Promise


def moved_task(executor: str = "chaos") -> tuple[Scene, str, float]:
    """A task whose worker was lost; and when it was moved."""
    scene = Scene()
    task = scene.submit(1, executor=executor)
    scene.assign(task, scene.one)
    scene.lose(scene.one, WORKER)
    moved = scene.move(task, scene.one, scene.two)
    scene.complete(task, scene.two, OTHER)
    return scene, task, moved


def kill(at: float, target: str = "worker-1") -> Fault:
    """A fault that explains what happens to this process, shortly after."""
    return Fault(1, "stop", target, at, at + 0.1)


def test_attempts_at_once() -> None:
    """The first was still seen when the second began; an inline one cannot be stopped."""
    for executor, expected in (("chaos", {Promise.OVERLAP}), ("chaos-inline", set())):
        scene, task, moved = moved_task(executor)
        runs = [
            run(task, scene.one, moved - 0.2, moved + 0.3, ended=False),
            run(task, scene.two, moved + 0.1, moved + 0.4),
        ]
        found = verdict(scene, executions=runs, faults=[kill(moved - 0.3)])
        assert set(found.findings.counts) == expected
        assert found.numbers["inline overlaps (not promised)"] == (not expected)


def test_execution_that_nothing_explains() -> None:
    """No fault at all; one of another worker; one that was over long before; one that was late."""
    scene, task, moved = moved_task()
    runs = [
        run(task, scene.one, moved - 0.2, moved - 0.1, ended=False),
        run(task, scene.two, moved + 0.1, moved + 0.2),
    ]
    explaining = [kill(moved - 0.3), kill(moved - 0.3, "zookeeper-2"), kill(moved, "ensemble")]
    useless = [
        kill(moved, "worker-2"),
        kill(moved - 5.0),
        kill(moved + 0.2),
        kill(moved, "master-1"),
    ]
    assert broken(scene, executions=runs) == {Promise.UNEXPLAINED}
    for fault in explaining:
        assert broken(scene, executions=runs, faults=[fault]) == set()
    for fault in useless:
        assert broken(scene, executions=runs, faults=[fault]) == {Promise.UNEXPLAINED}


def test_first_attempt_that_begins_last() -> None:
    """Its worker's session was ended, which it did not know: that explains the second attempt."""
    scene, task, moved = moved_task("chaos-inline")
    second = replace(run(task, scene.two, moved + 0.1, moved + 0.2), attempt=2)
    late = run(task, scene.one, moved + 0.12, moved + 0.22)
    assert broken(scene, executions=[late, second]) == {Promise.UNEXPLAINED}
    assert broken(scene, executions=[late, second], faults=[kill(moved - 0.2)]) == set()
    other = kill(moved - 0.2, scene.two.rpartition("-")[0])
    assert broken(scene, executions=[late, second], faults=[other]) == {Promise.UNEXPLAINED}


def test_stall_of_the_machine_explains_what_a_fault_of_all_would() -> None:
    """It is told apart from the faults, none of which it is, and only what is near is explained."""
    scene, task, moved = moved_task()
    runs = [
        run(task, scene.one, moved - 0.2, moved - 0.1),
        run(task, scene.two, moved + 0.1, moved + 0.2),
    ]
    found = verdict(scene, executions=runs, stalls=[stall(moved - 1, moved - 0.5)])
    assert found.ok
    assert found.explained == {"stall": 1}
    assert found.numbers["faults carried out"] == 0
    both = verdict(scene, executions=runs, stalls=[stall(moved, moved)], faults=[kill(moved - 0.3)])
    assert both.explained == {"stop": 1}
    late = stall(moved + 0.2, moved + 1)
    assert broken(scene, executions=runs, stalls=[late]) == {Promise.UNEXPLAINED}


def test_execution_begun_again_by_the_same_worker() -> None:
    """The lease ran out and the attempt was stopped; had it returned, nothing would explain it."""
    scene = Scene()
    task = scene.submit(1)
    at = scene.assign(task, scene.one)
    scene.now += 5
    scene.complete(task, scene.one, WORKER)
    again = run(task, scene.one, at + 2, at + 3)
    stopped = run(task, scene.one, at, at + 1, ended=False)
    assert verdict(scene, executions=[stopped, again]).explained == {"lease": 1}
    returned = run(task, scene.one, at, at + 1)
    assert broken(scene, executions=[returned, again]) == {Promise.UNEXPLAINED}


def test_group_faults_touch_their_victims() -> None:
    """A rolling restart names its victims in its detail."""
    scene, task, moved = moved_task()
    runs = [
        run(task, scene.one, moved - 0.2, moved - 0.1, ended=False),
        run(task, scene.two, moved + 0.1, moved + 0.2),
    ]
    rolling = replace(kill(moved - 0.3, "workers"), detail={"victims": [{"name": "worker-1"}]})
    assert broken(scene, executions=runs, faults=[rolling]) == set()
    others = replace(rolling, detail={"victims": [{"name": "worker-10"}]})
    assert broken(scene, executions=runs, faults=[others]) == {Promise.UNEXPLAINED}


def test_process_that_ended_by_itself() -> None:
    """Nobody asked it to, and it was before the end."""
    crashed = End(BEGAN, "worker-1", "worker", 5, 1, None)
    assert broken(Scene(), ends=[crashed]) == {Promise.ENDED}
    harmless = [replace(crashed, why="fault 3"), replace(crashed, exit_code=143)]
    assert broken(Scene(), ends=harmless) == set()
    assert broken(Scene(), ends=[replace(crashed, at=BEGAN + 101)]) == set()


def test_process_that_found_no_zookeeper() -> None:
    """Exit code 69 is right while a fault blocks the way to ZooKeeper, and only then."""
    gave_up = End(BEGAN + 10, "worker-1", "worker", 5, 69, None)
    assert broken(Scene(), ends=[gave_up]) == {Promise.ENDED}
    assert broken(Scene(), ends=[gave_up], faults=[kill(BEGAN + 8, "zookeeper-2")]) == set()
