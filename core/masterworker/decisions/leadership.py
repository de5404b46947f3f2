"""Decides from /master and /epoch whether a master is primary, waits, or runs for election.

Each candidacy has an id of its own, created for each session. The winner writes its id into /master
and /epoch in one `multi`. A candidate whose reply was lost therefore learns by reading whether it
won, and never repeats an election blindly.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """There is no primary: run for election, expecting /epoch to have this version."""

    epoch_version: int


@dataclass(frozen=True, slots=True)
class Hold:
    """This master is the primary for this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Another master is the primary: stand by."""


def decide(
    candidate: str, in_office: str | None, epoch_owner: str | None, epoch_version: int
) -> Run | Hold | Wait:
    """What `candidate` does next.

    `in_office` is the id in /master, None if there is no such znode. `epoch_owner` and
    `epoch_version` are the id in /epoch and that znode's data version.
    """
    if in_office is None:
        return Run(epoch_version)
    if in_office == candidate == epoch_owner:
        return Hold(epoch_version)
    return Wait()
