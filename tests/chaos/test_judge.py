"""The judge finds every kind of breach in a history made for it, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from masterworker.words import paths
from tests.chaos.history import Create, Delete, Set, Unjudgeable
from tests.chaos.journals import (
    End,
    Execution,
    Fault,
    Handed,
    Journals,
    Settings,
    Submission,
)
from tests.chaos.judge import judge
from tests.chaos.scene import BEGAN, CLIENT, CLIENTS, MASTER, OTHER, WORKER, Scene
from tests.chaos.verdict import Promise, Verdict

SETTINGS = Settings(session_timeout=3.0, tick=0.5, delta=1.0, began=BEGAN, settled=BEGAN + 100)


def verdict(scene: Scene, **journals: object) -> Verdict:
    """The judgement of a scene; `journals` are fields of Journals."""
    return judge(scene.transactions, Journals(settings=SETTINGS, **journals))  # type: ignore[arg-type]


def broken(scene: Scene, **journals: object) -> set[Promise]:
    """The promises broken in a scene."""
    return set(verdict(scene, **journals).findings.counts)


def handed(task: str, token: str, **more: str) -> Handed:
    """A result as a client was handed it."""
    fields = {"outcome": "succeeded", "value": f"done:{token}", "reason": None, **more}
    return Handed(BEGAN + 50, token, task, journal="client-1-7", **fields)  # type: ignore[arg-type]


def run(task: str, worker: str, start: float, end: float, *, ended: bool = True) -> Execution:
    """An execution; one that is not `ended` was last seen at `end`."""
    process = worker.rpartition("-")[0]
    return Execution(task, 1, worker, process, start, end, end=end if ended else None)


def test_everything_the_protocol_does_is_in_order() -> None:
    """Recovery, drain, giving up, an election, taking and expiring: no finding, and the figures."""
    scene = Scene()
    done = scene.finish(1)
    scene.take(done)
    moved = scene.submit(2)
    began = scene.assign(moved, scene.one)
    lost = scene.submit(3, executor="chaos-inline")
    scene.assign(lost, scene.one)
    died = scene.now
    scene.lose(scene.one, WORKER)
    scene.elect(0x11, pid=11)
    again = scene.move(moved, scene.one, scene.two)
    scene.give_up(lost, scene.one)
    scene.drain(scene.two, OTHER)
    back = scene.hand_back(moved, scene.two, OTHER)
    heir = scene.register("worker-1-c", 0x23)
    third = scene.assign(moved, heir)
    scene.complete(moved, heir, 0x23)
    scene.ledger = replace(scene.ledger, expired=1)
    scene.commit(scene.master, scene.fence, scene.books(), Delete(paths.status(lost)))
    executions = [
        run(done, scene.one, BEGAN, BEGAN + 1),
        run(moved, scene.one, began, died, ended=False),
        run(moved, scene.two, again, back, ended=False),
        run(moved, heir, third, third + 0.05),
    ]
    fault = Fault(1, "kill", "worker-1", died, died, pid=WORKER)
    submissions = [Submission(BEGAN, f"t{n}", "chaos", "client-1-7") for n in (1, 2, 3)]
    failed = handed(lost, "t3", outcome="failed", value="", reason="lost")
    found = verdict(
        scene,
        executions=executions,
        faults=[fault, replace(fault, number=2, skipped="nobody there")],
        submissions=submissions,
        handed=[handed(done, "t1"), handed(moved, "t2"), failed],
        ends=[
            End(BEGAN, "worker-1", "worker", WORKER, -9, "fault 1"),
            End(BEGAN, "client-1", "client", 7, 0, None),
        ],
    )
    assert found.findings.kept == []
    assert found.ok
    assert found.explained == {"kill": 1, "drain": 1}
    assert found.numbers["tasks accepted"] == 3
    assert found.numbers["tasks failed"] == 1
    assert found.numbers["extra executions"] == 2
    assert found.numbers["faults skipped"] == 1
    measured = {(one.what, round(one.seconds, 3), one.undisturbed) for one in found.recoveries}
    assert measured == {
        ("reassigned", round(again - died, 3), True),
        ("reassigned", round(again - died + 0.1, 3), True),  # the one that was given up
        ("started elsewhere", round(again - died, 3), True),
    }
    assert [term.epoch for term in found.terms] == [1, 2]
    assert found.terms[0].ended is not None
    assert len(found.finished) == 3


# --- the life of a task ----------------------------------------------------------------------


def test_task_without_a_status_is_lost() -> None:
    """It still lies in its worker's folder when all is over."""
    scene = Scene()
    scene.assign(scene.submit(1), scene.one)
    assert broken(scene) == {Promise.LOST}


def test_task_that_was_nowhere_between_two_commits() -> None:
    """A move in two commits, deletion first: even if it goes well, it is found."""
    scene = Scene()
    task = scene.submit(1)
    scene.commit(MASTER, scene.fence, Delete(paths.task(task)))
    assert broken(scene) == {Promise.CONSERVATION, Promise.LOST}
    scene.commit(MASTER, scene.fence, Create(paths.assignment(scene.one, task), b""))
    scene.complete(task, scene.one, WORKER)
    assert Promise.CONSERVATION in broken(scene)
    assert Promise.LOST not in broken(scene)


def test_task_that_was_in_two_places_between_two_commits() -> None:
    """A move in two commits, creation first."""
    scene = Scene()
    task = scene.submit(1)
    scene.commit(MASTER, scene.fence, Create(paths.assignment(scene.one, task), b""))
    scene.commit(MASTER, scene.fence, Delete(paths.task(task)))
    scene.complete(task, scene.one, WORKER)
    assert Promise.CONSERVATION in broken(scene)


def test_status_that_leaves_the_assignment_where_it_is() -> None:
    """What the book's worker does: first the status, then the deletion."""
    scene = Scene()
    task = scene.submit(1)
    scene.assign(task, scene.one)
    scene.commit(WORKER, scene.status(task))
    scene.commit(WORKER, Delete(paths.assignment(scene.one, task)))
    assert broken(scene) == {Promise.NO_ASSIGNMENT, Promise.CONSERVATION}


def test_second_status_of_a_task() -> None:
    """The first was taken, and a second one appears."""
    scene = Scene()
    task = scene.finish(1)
    scene.take(task)
    scene.commit(WORKER, scene.status(task))
    found = verdict(scene).findings
    assert len(found.of(Promise.RECORDED_TWICE)) == 1
    assert found.of(Promise.RECORDED_TWICE)[0].task == task


def test_result_handed_over_in_two_versions() -> None:
    """Two clients, or one twice, were told different things of one task."""
    scene = Scene()
    task = scene.finish(1)
    told = [handed(task, "t1"), handed(task, "t1", outcome="failed", reason="lost")]
    assert broken(scene, handed=told) == {Promise.RECORDED_TWICE, Promise.WRONG_VALUE}


def test_submission_accepted_under_two_ids() -> None:
    """A batch repeated blindly with new ids: one token, two tasks."""
    scene = Scene()
    first, second = scene.finish(1), scene.submit(2, token="t1")
    scene.assign(second, scene.one)
    scene.complete(second, scene.one, WORKER, result="done:t1")
    found = verdict(scene).findings
    assert set(found.counts) == {Promise.ACCEPTED_TWICE}
    assert first in found.kept[0].what


def test_submission_accepted_again_under_its_id() -> None:
    """A batch repeated blindly with an unconditional count, when its tasks had moved on."""
    scene = Scene()
    task = scene.finish(1)
    scene.submit(1, booked=False)
    assert {Promise.ACCEPTED_TWICE, Promise.CONSERVATION} <= broken(scene), task


def test_result_of_a_task_never_accepted() -> None:
    """A client was told of a task that the history does not know."""
    assert broken(Scene(), handed=[handed(f"{CLIENT}-1", "t1")]) == {Promise.NEVER_ACCEPTED}


def test_wrong_values() -> None:
    """Recorded wrongly, handed over wrongly, handed over for another's token."""
    scene = Scene()
    task = scene.submit(1)
    scene.assign(task, scene.one)
    scene.complete(task, scene.one, WORKER, result="done:other")
    assert broken(scene) == {Promise.WRONG_VALUE}
    sound = Scene()
    task = sound.finish(1)
    assert broken(sound, handed=[handed(task, "t1")]) == set()
    assert broken(sound, handed=[handed(task, "t1", value="done:t9")]) == {Promise.WRONG_VALUE}
    assert broken(sound, handed=[handed(task, "t9")]) == {Promise.WRONG_VALUE}
    failed = handed(task, "t1", outcome="failed", reason="lost")
    assert broken(sound, handed=[failed]) == {Promise.WRONG_VALUE}
    assert broken(sound, handed=[replace(failed, reason="expired")]) == set()
    assert broken(sound, handed=[replace(failed, reason="Defect()")]) == {Promise.UNANSWERED}


def test_submission_never_answered() -> None:
    """Its client ended in order; that of a client that was killed is nobody's any more."""
    waiting = [Submission(BEGAN, "t1", "chaos", "client-1-7")]
    ended = End(BEGAN, "client-1", "client", 7, 0, None)
    killed = replace(ended, exit_code=-9, why="fault 1")
    assert broken(Scene(), submissions=waiting, ends=[ended]) == {Promise.UNANSWERED}
    assert broken(Scene(), submissions=waiting, ends=[killed]) == set()


def test_books_that_do_not_add_up() -> None:
    """A ledger that counts one submission too few."""
    scene = Scene()
    task = scene.submit(1, booked=False)
    scene.assign(task, scene.one)
    scene.complete(task, scene.one, WORKER)
    assert broken(scene) == {Promise.BOOKS}


# --- who writes ------------------------------------------------------------------------------


def test_write_of_a_master_without_the_check() -> None:
    """It is in office, and the write is harmless: but nothing would have stopped a stale one."""
    scene = Scene()
    task = scene.submit(1)
    moved = Create(paths.assignment(scene.one, task), b""), Delete(paths.task(task))
    scene.commit(MASTER, *moved)
    scene.complete(task, scene.one, WORKER)
    assert broken(scene) == {Promise.STALE_EPOCH}


def test_write_of_a_master_out_of_office() -> None:
    """It checks /epoch, and the epoch is another's."""
    scene = Scene()
    task = scene.submit(1)
    scene.elect(0x11)
    scene.assign(task, scene.one, by=MASTER)
    scene.complete(task, scene.one, WORKER)
    found = verdict(scene).findings
    assert set(found.counts) == {Promise.STALE_EPOCH}
    assert found.kept[0].evidence["epoch"] == 2
    assert found.kept[0].session == MASTER


def test_assignment_by_nobody_we_know() -> None:
    """A session that never announced itself as a master's."""
    scene = Scene()
    task = scene.submit(1)
    moved = Create(paths.assignment(scene.one, task), b""), Delete(paths.task(task))
    scene.commit(0x99, *moved)
    scene.complete(task, scene.one, WORKER)
    assert broken(scene) == {Promise.STALE_EPOCH}


def test_assignment_that_another_worker_settles() -> None:
    """A status for a task that is another worker's."""
    scene = Scene()
    task = scene.submit(1)
    scene.assign(task, scene.one)
    scene.complete(task, scene.one, OTHER)
    assert broken(scene) == {Promise.FOREIGN_MOVE}


def test_slots() -> None:
    """The third process task on two process slots, and the fourth task on three slots."""
    scene = Scene(slots=3)
    for number in range(1, 4):
        scene.assign(scene.submit(number), scene.one)
    assert Promise.SLOTS in broken(scene)
    inline = Scene(slots=3)
    for number in range(1, 4):
        inline.assign(inline.submit(number, executor="chaos-inline"), inline.one)
    assert Promise.SLOTS not in broken(inline)
    inline.assign(inline.submit(4, executor="chaos-inline"), inline.one)
    assert Promise.SLOTS in broken(inline)


# --- executions ------------------------------------------------------------------------------


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
    """To end with 69 is right while the way to ZooKeeper is struck, and only then."""
    gave_up = End(BEGAN + 10, "worker-1", "worker", 5, 69, None)
    assert broken(Scene(), ends=[gave_up]) == {Promise.ENDED}
    assert broken(Scene(), ends=[gave_up], faults=[kill(BEGAN + 8, "zookeeper-2")]) == set()


# --- measurements ----------------------------------------------------------------------------


def test_next_epoch_after_the_primarys_death() -> None:
    """Measured from the kill, and told apart when another fault was near."""
    scene = Scene()
    died = scene.now
    scene.elect(0x11, pid=12)
    elected = scene.now
    fault = Fault(1, "kill", "master-1", died, died, pid=10)
    near = Fault(2, "reset", "master-2", died + 1, died + 1)
    harmless = replace(near, target="worker-2")
    for faults, alone in (([fault], True), ([fault, harmless], True), ([fault, near], False)):
        [measured] = verdict(scene, faults=faults).recoveries
        assert (measured.what, measured.undisturbed) == ("next epoch", alone)
        assert measured.seconds == pytest.approx(elected - died)


# --- evidence that is none -------------------------------------------------------------------


@pytest.mark.parametrize(
    "misfit",
    [
        Create("/tasks", b""),
        Create("/nowhere/below", b""),
        Delete("/tasks/gone"),
        Set("/epoch", b"", 7),
    ],
    ids=str,
)
def test_history_that_contradicts_itself_is_not_judged(misfit: Create | Delete | Set) -> None:
    """A transaction that cannot have been carried out on what went before it."""
    scene = Scene()
    scene.commit(CLIENTS, misfit)
    with pytest.raises(Unjudgeable, match="does not fit"):
        verdict(scene)
