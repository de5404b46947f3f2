"""What the primary removes: statuses past their time to live, and folders nobody needs any more.

Age is counted on the primary's own monotonic clock from the moment it first saw an entry as it is
now, so no clock of another machine matters and a failover only lengthens a status's life. An entry
of /status is *quiet* while neither it nor its children change: a quiet time of the time to live
means that every status in it is at least that old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..words.model import Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """One child of /status: a client's folder, or the plain status of a book client's task.

    `ledger` is None for a plain status. `mark` changes whenever the entry or its children do.
    """

    name: str
    version: int
    children: int
    mark: tuple[int, int]
    ledger: Ledger | None


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry's mark, and the monotonic second at which it was first seen."""

    mark: tuple[int, int]
    since: float


@dataclass(frozen=True, slots=True)
class Expire:
    """Remove the statuses in a client's folder and book them as expired."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Retire:
    """Remove a folder whose books are balanced, and add them to those of /status."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove a plain status."""

    entry: Entry


Removal = Expire | Retire | Drop


def look(seen: Mapping[str, Seen], entries: Iterable[Entry], now: float) -> dict[str, Seen]:
    """What has been seen since when, after a look at `entries` at monotonic second `now`."""
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
    """What is to be removed at monotonic second `now`.

    `status_ttl` is how many seconds an unread status is kept, `folder_ttl` how many seconds the
    balanced folder of a client that may be gone is.
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
    """The empty /assign folders to remove: those of workers absent for `grace` seconds or more.

    `absent` says since which monotonic second a worker has been missing. The grace is for a worker
    of the book's, which makes its folder first and registers afterwards.
    """
    return sorted(name for name in empty if name in absent and now - absent[name] >= grace)
