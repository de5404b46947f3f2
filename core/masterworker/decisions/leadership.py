"""Whether a master runs for office, holds it, or waits: decided from /master and /epoch as read.

A candidacy has an id of its own, made anew for each session. Whoever wins writes its id into
/master and /epoch in one `multi`. So a candidate whose reply was lost finds out by reading whether
it won: nobody repeats the election blindly.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """Nobody is in office: run, expecting /epoch to have this version."""

    epoch_version: int


@dataclass(frozen=True, slots=True)
class Hold:
    """We are in office for this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else is in office: stand by."""


def decide(
    candidate: str, in_office: str | None, epoch_owner: str | None, epoch_version: int
) -> Run | Hold | Wait:
    """What `candidate` does next.

    `in_office` is the id in /master, None if there is no such znode; `epoch_owner` and
    `epoch_version` are the id in /epoch and that znode's data version.
    """
    if in_office is None:
        return Run(epoch_version)
    if in_office == candidate == epoch_owner:
        return Hold(epoch_version)
    return Wait()
