"""Cleaning: what has been quiet for long enough goes, and nothing that somebody may still need."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions.cleaning import (
    Drop,
    Entry,
    Expire,
    Removal,
    Retire,
    Seen,
    look,
    removals,
    stale_folders,
)
from masterworker.words.model import Ledger
from tests.unit import strategies

STATUS_TTL, FOLDER_TTL = 100.0, 1_000.0
SETTLED = Ledger(accepted=3, taken=2, expired=1)
OPEN = Ledger(accepted=3, taken=1)


def entry(ledger: Ledger | None, children: int = 0, name: str = "c") -> Entry:
    """A child of /status."""
    return Entry(name, version=4, children=children, mark=(7, 8), ledger=ledger)


def after(quiet: float, one: Entry) -> list[Removal]:
    """What is removed when `one` has been quiet for so many seconds."""
    seen = look({}, [one], now=50.0)
    now = 50.0 + quiet
    return removals([one], seen, now, status_ttl=STATUS_TTL, folder_ttl=FOLDER_TTL)


def test_unread_statuses_expire() -> None:
    """A folder's statuses live as long as the time to live says, and not a second longer."""
    folder = entry(OPEN, children=2)
    assert after(99.9, folder) == []
    assert after(100.0, folder) == [Expire(folder)]


def test_a_book_clients_status_is_dropped() -> None:
    """A plain status has no books: it is just removed."""
    plain = entry(None)
    assert after(99.9, plain) == []
    assert after(100.0, plain) == [Drop(plain)]


def test_a_balanced_folder_is_retired() -> None:
    """An empty folder whose tasks are all settled goes after its own, longer, time."""
    folder = entry(SETTLED)
    assert after(999.9, folder) == []
    assert after(1_000.0, folder) == [Retire(folder)]


def test_a_folder_with_open_tasks_is_never_retired() -> None:
    """Their statuses are still to come, and need the folder."""
    assert after(1e9, entry(OPEN)) == []


def test_a_folder_with_statuses_is_never_retired() -> None:
    """Even with balanced books: what lies in it goes first."""
    folder = entry(SETTLED, children=1)
    assert after(1e9, folder) == [Expire(folder)]


def test_every_change_begins_the_time_anew() -> None:
    """Whatever changes the mark, of the entry or its children, makes it young again."""
    one = entry(OPEN, children=1)
    seen = look({}, [one], 0.0)
    seen = look(seen, [one], 60.0)
    assert seen == {"c": Seen(one.mark, 0.0)}
    touched = replace(one, mark=(7, 9))
    seen = look(seen, [touched], 90.0)
    assert seen == {"c": Seen(touched.mark, 90.0)}
    bounds = {"status_ttl": STATUS_TTL, "folder_ttl": FOLDER_TTL}
    assert removals([touched], seen, 189.0, **bounds) == []
    assert removals([touched], seen, 190.0, **bounds) == [Expire(touched)]


def test_what_is_gone_is_not_remembered() -> None:
    """An entry that comes back under its old name is as young as a new one."""
    one = entry(OPEN)
    seen = look(look({}, [one], 0.0), [], 10.0)
    assert seen == {}
    assert look(seen, [one], 20.0) == {"c": Seen(one.mark, 20.0)}


@given(
    st.lists(
        st.builds(
            Entry,
            name=st.uuids().map(str),
            version=st.just(0),
            children=st.integers(0, 3),
            mark=st.just((1, 1)),
            ledger=st.none() | strategies.ledgers,
        ),
        max_size=8,
    ),
    st.floats(0, 2_000),
)
def test_an_entry_is_removed_at_most_once_and_never_early(
    entries: list[Entry], quiet: float
) -> None:
    """One removal for each entry, in order, none before its time, and all of them by then."""
    seen = look({}, entries, 0.0)
    found = removals(entries, seen, quiet, status_ttl=STATUS_TTL, folder_ttl=FOLDER_TTL)
    positions = [entries.index(removal.entry) for removal in found]
    assert positions == sorted(set(positions))
    for one in entries:
        removed = any(removal.entry is one for removal in found)
        folder = one.ledger is not None and not one.children
        due = quiet >= (FOLDER_TTL if folder else STATUS_TTL)
        waiting = folder and one.ledger is not None and one.ledger.unsettled > 0
        assert removed == (due and not waiting)


def test_an_empty_folder_of_an_absent_worker_goes_after_a_grace() -> None:
    """The grace is for a worker that makes its folder first and registers afterwards."""
    absent = {"b": 10.0, "a": 10.0, "young": 95.0, "full": 0.0}
    assert stale_folders(absent, ["b", "a", "young"], now=99.9, grace=90.0) == []
    assert stale_folders(absent, ["b", "a", "young"], now=100.0, grace=90.0) == ["a", "b"]


def test_the_folder_of_a_worker_that_is_there_stays() -> None:
    """However long it has been empty."""
    assert stale_folders({}, ["a"], now=1e9, grace=0.0) == []
