"""The analysis finds forbidden changes of tasks, and writes by sessions that may not write."""

from __future__ import annotations

from dataclasses import replace

from masterworker.words import paths
from tests.chaos.history import Create, Delete
from tests.chaos.journals import (
    End,
    Submission,
)
from tests.chaos.scene import (
    BEGAN,
    CLIENT,
    MASTER,
    OTHER,
    WORKER,
    Scene,
    broken,
    handed,
    verdict,
)
from tests.chaos.verdict import Promise

# --- the life of a task ----------------------------------------------------------------------


def test_task_without_a_status_is_lost() -> None:
    """A task is still in its worker's folder at the end."""
    scene = Scene()
    scene.assign(scene.submit(1), scene.one)
    assert broken(scene) == {Promise.LOST}


def test_task_that_was_nowhere_between_two_commits() -> None:
    """A move in two commits, deletion first: it is found even if nothing is lost."""
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
    """Its client ended in order; the submissions of a client that was killed need no answer."""
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
    assert broken(scene) == {Promise.LEDGER}


# --- who writes ------------------------------------------------------------------------------


def test_write_of_a_master_without_the_check() -> None:
    """It is the primary, and the write is harmless, but nothing would have stopped a stale one."""
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
