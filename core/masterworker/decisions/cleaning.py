"""Decides what the primary removes: expired statuses and unused folders.

Age is measured on the primary's monotonic clock, from the moment it first saw an entry in its
current form. Other machines' clocks do not matter, and a failover can only prolong a status's life.
An entry of /status is *quiet* while neither it nor its children change: once it has been quiet for
the time to live, every status in it is at least that old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..words.model import Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """A child of /status: a client's folder, or the plain status of a book client's task.

    `ledger` is None for a plain status. `mark` changes whenever the entry or its children do.
    """

    name: str
    version: int
    children: int
    mark: tuple[int, int]
    ledger: Ledger | None


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry's mark, and the monotonic second at which that mark was first seen."""

    mark: tuple[int, int]
    since: float


@dataclass(frozen=True, slots=True)
class Expire:
    """Remove the statuses in a client's folder and record them in its ledger as expired."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Retire:
    """Remove a folder whose ledger is settled, and add that ledger to the one of /status."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove a plain status."""

    entry: Entry


Removal = Expire | Retire | Drop


def look(seen: Mapping[str, Seen], entries: Iterable[Entry], now: float) -> dict[str, Seen]:
    """Update the first-seen times after reading `entries` at monotonic second `now`."""
    after: dict[str, Seen] = {}
    for entry in entries:
        before = seen.get(entry.name)
        same = before is not None and before.mark == entry.mark
        after[entry.name] = before if before is not None and same else Seen(entry.mark, now)
    return after


def removals(
    entries: Iterable[Entry],
    seen: Mapping[str, Seen],
    now: float,
    *,
    status_ttl: float,
    folder_ttl: float,
) -> list[Removal]:
    """The removals that are due at monotonic second `now`.

    `status_ttl` is how long an unread status is kept, `folder_ttl` how long the settled folder of a
    client that may be gone is kept, both in seconds.
    """
    found: list[Removal] = []
    for entry in entries:
        quiet = now - seen[entry.name].since
        if entry.ledger is None:
            if quiet >= status_ttl:
                found.append(Drop(entry))
        elif entry.children:
            if quiet >= status_ttl:
                found.append(Expire(entry))
        elif quiet >= folder_ttl and entry.ledger.unsettled == 0:
            found.append(Retire(entry))
    return found


def stale_folders(
    absent: Mapping[str, float], empty: Iterable[str], now: float, grace: float
) -> list[str]:
    """The empty /assign folders of workers that have been absent for at least `grace` seconds.

    `absent` gives the monotonic second since which each worker has been missing. The grace period
    is for the book's workers, which create their folder before they register.
    """
    return sorted(name for name in empty if name in absent and now - absent[name] >= grace)
