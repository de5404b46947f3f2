"""The audit's judgement: what one reading makes suspect, and what several make certain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions import audit
from masterworker.decisions.audit import Finding, Kind, Office, Reading
from masterworker.words import paths
from masterworker.words.model import Ledger, Master, Worker

CLIENT = "0123456789abcdef"
TASKS = [paths.task_id(CLIENT, number) for number in range(1, 7)]
PRIMARY = Master("primary", "host", 1)
GONE = {"gone": frozenset(TASKS[:2])}


def reading(ledger: Ledger, after: Ledger | None = None, **places: Any) -> Reading:
    """A reading of one client's tasks."""
    whole = Reading(ledgers_before={CLIENT: ledger}, ledgers_after={CLIENT: after or ledger})
    return replace(whole, **places)


def kinds(of: Reading) -> dict[Kind, int]:
    """The suspicions by kind, with the tasks they hit."""
    return {finding.kind: finding.tasks for finding in audit.suspicions(of)}


@given(st.lists(st.sampled_from(["pending", "assigned", "finished", "taken"]), max_size=6))
def test_balanced_books_are_not_suspect(places: list[str]) -> None:
    """Wherever each task is, and if it was seen in two places on its way, the books balance."""
    at = {
        place: frozenset(task for task, one in zip(TASKS, places, strict=False) if one == place)
        for place in ("pending", "assigned", "finished")
    }
    whole = reading(
        Ledger(accepted=len(places)),
        Ledger(accepted=len(places), taken=places.count("taken")),
        pending=at["pending"] | at["assigned"],
        assigned={"w": at["assigned"]},
        finished=at["finished"],
        registered=frozenset({"w"}),
    )
    assert audit.suspicions(whole) == []
    assert whole.seen_twice() == at["assigned"]


def test_what_is_missing_or_too_much_is_counted() -> None:
    """Fewer tasks than accepted are lost; more are recorded twice, unless the books just moved."""
    seen = frozenset(TASKS[:3])
    assert kinds(reading(Ledger(5), pending=seen)) == {Kind.LOST: 2}
    assert kinds(reading(Ledger(5), Ledger(5, 1), pending=seen)) == {Kind.LOST: 1}
    assert kinds(reading(Ledger(5), pending=seen, found_again=frozenset(TASKS[3:5]))) == {}
    assert kinds(reading(Ledger(2), pending=seen)) == {Kind.RECORDED_TWICE: 1}
    assert kinds(reading(Ledger(1), Ledger(2), pending=seen)) == {}
    assert kinds(Reading(ledgers_after={CLIENT: Ledger(5)})) == {}  # new meanwhile


def test_orphans_need_a_primary() -> None:
    """Without one nobody can recover them; with one they ought to be, but for what is bad."""
    alone = reading(Ledger(2), assigned=GONE)
    assert kinds(alone) == {}
    assert audit.report(alone, ()).notes[0].startswith("2 tasks of dead workers")
    ruled = replace(
        alone,
        office=Office(PRIMARY, PRIMARY.id),
        masters={PRIMARY.id: PRIMARY},
        owners={paths.MASTER: 1, paths.master(PRIMARY.id): 1},
    )
    assert kinds(ruled) == {Kind.ORPHANED: 2}
    assert kinds(replace(ruled, registered=frozenset(GONE))) == {}
    bad = {paths.assignment("gone", task): "bad" for task in TASKS[:2]}
    assert set(kinds(replace(ruled, quarantined=bad))) == {Kind.QUARANTINED}


def test_only_what_persists_is_believed() -> None:
    """A suspicion that one reading does not share is gone, and counts for the least it ever did."""
    lost = Finding(Kind.LOST, CLIENT, "5 lost", 5)
    fewer = Finding(Kind.LOST, CLIENT, "2 lost", 2)
    other = Finding(Kind.LOST, "other", "1 lost", 1)
    assert audit.persisting([lost, other], [fewer]) == [fewer]
    assert audit.persisting([fewer], [lost, other]) == [fewer]
    assert audit.persisting([lost], []) == []


def test_belief_takes_readings_and_for_orphans_time() -> None:
    """Nothing suspected needs no second look; orphans need more than five."""
    lost = [Finding(Kind.LOST, CLIENT, "", 1)]
    orphaned = [*lost, Finding(Kind.ORPHANED, "w", "", 1)]
    assert audit.settled([], 1, 0.0)
    assert not audit.settled(lost, audit.READINGS - 1, 1e9)
    assert audit.settled(lost, audit.READINGS, 0.0)
    assert not audit.settled(orphaned, audit.READINGS, audit.RECOVERY - 1)
    assert audit.settled(orphaned, audit.READINGS, audit.RECOVERY)


def test_numbers_count_what_the_words_leave_out() -> None:
    """At most a hundred findings are spelled out; the numbers have all of them."""
    many = [Finding(Kind.QUARANTINED, str(n), str(n)) for n in range(150)]
    report = audit.report(Reading(), many)
    assert report.quarantined == 150
    assert len(report.findings) == audit.FINDINGS + 1
    assert report.findings[-1] == "and 50 more problems"
    assert not report.ok


def test_overfull_counts_slots() -> None:
    """A worker may hold as many tasks as it has slots, and not one more."""
    held = {"w": frozenset(TASKS[:3])}
    for slots, expected in ((3, {}), (2, {Kind.OVERFULL: 1})):
        worker = Worker({"echo": True}, slots, 0)
        full = reading(Ledger(3), assigned=held, registered=frozenset(held), workers={"w": worker})
        assert kinds(full) == expected
