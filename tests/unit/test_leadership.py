"""Leadership: who is in office follows from /master and /epoch as read, replies lost or not."""

from __future__ import annotations

import itertools

import pytest

from masterworker.decisions.leadership import Hold, Run, Wait, decide

ME, OTHER = "me", "other"


@pytest.mark.parametrize(
    ("in_office", "owner", "expected"),
    [
        (None, None, Run(5)),  # the first election of all
        (None, OTHER, Run(5)),  # the other one is gone
        (None, ME, Run(5)),  # we had it, and our session ended: /master went with it
        (ME, ME, Hold(5)),  # we won, whether or not the reply reached us
        (OTHER, OTHER, Wait()),
        (OTHER, ME, Wait()),  # we were in office once
        (OTHER, None, Wait()),
        (ME, OTHER, Wait()),  # read in between: one of the two is out of date, so read again
        (ME, None, Wait()),
    ],
)
def test_what_a_candidate_does(
    in_office: str | None, owner: str | None, expected: Run | Hold | Wait
) -> None:
    """Every combination of who is in /master and who wrote /epoch has its one answer."""
    assert decide(ME, in_office, owner, 5) == expected


def test_at_most_one_candidate_holds() -> None:
    """From the same reading no two candidates can both conclude that they are in office."""
    for in_office, owner in itertools.product([None, ME, OTHER], repeat=2):
        answers = [decide(candidate, in_office, owner, 1) for candidate in (ME, OTHER)]
        assert sum(isinstance(answer, Hold) for answer in answers) <= 1
        assert (in_office is None) == all(isinstance(answer, Run) for answer in answers)


class Register:
    """/master and /epoch, and an election's `multi` against them."""

    def __init__(self) -> None:
        self.master: str | None = None
        self.owner: str | None = None
        self.version = 0

    def elect(self, candidate: str, run: Run) -> None:
        """Both or neither: create /master, and set /epoch from the version that was read."""
        if self.master is None and self.version == run.epoch_version:
            self.master = self.owner = candidate
            self.version += 1

    def decide(self, candidate: str) -> Run | Hold | Wait:
        return decide(candidate, self.master, self.owner, self.version)


def test_a_race_has_one_winner_and_epochs_only_grow() -> None:
    """Two that run on the same reading: one holds, one waits; the next term has a new epoch."""
    tree = Register()
    first, second = tree.decide(ME), tree.decide(OTHER)
    assert isinstance(first, Run)
    assert isinstance(second, Run)
    tree.elect(OTHER, second)
    tree.elect(ME, first)
    assert tree.decide(OTHER) == Hold(1)
    assert tree.decide(ME) == Wait()

    tree.master = None  # the session of the winner ends
    assert tree.decide(ME) == Run(1)
    tree.elect(ME, first)
    assert tree.master is None, "an old reading elects nobody"
    tree.elect(ME, Run(1))
    assert tree.decide(ME) == Hold(2)
