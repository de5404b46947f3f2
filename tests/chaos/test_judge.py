"""The analysis accepts correct runs, measures them, and rejects an impossible history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from masterworker.words import paths
from tests.chaos.history import Create, Delete, Set, Unjudgeable
from tests.chaos.journals import (
    End,
    Fault,
    Submission,
)
from tests.chaos.scene import (
    BEGAN,
    CLIENTS,
    OTHER,
    WORKER,
    Scene,
    handed,
    run,
    verdict,
)


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
    """A transaction that is impossible after its predecessors."""
    scene = Scene()
    scene.commit(CLIENTS, misfit)
    with pytest.raises(Unjudgeable, match="does not fit"):
        verdict(scene)
