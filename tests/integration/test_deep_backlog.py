"""A long list of pending tasks: the primary does not spend its time on reading it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from masterworker.words import paths, records
from masterworker.words.model import Task
from masterworker.zookeeper.replies import Reply
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.survey import LISTING_SHARE, SHORT_LISTING, Survey
from tests.integration.running import tree

CLIENT = "0123456789abcdef"


class Slow(Session):
    """A session on whose clock, `now`, each listing of /tasks takes `takes` seconds."""

    now = 0.0
    takes = 1.0
    listings = 0

    def children(self, path: str, watch: Callable[[Any], None] | None = None) -> Reply[list[str]]:
        if path == paths.TASKS:
            self.listings += 1
            self.now += self.takes
        return super().children(path, watch)


def test_listing_takes_a_bounded_share_of_time(hosts: str) -> None:
    """A listing of one second is followed by nine without, whatever changes; a short one by none.

    Until then what is known is worked on, and the survey says when the next listing is due.
    """
    with tree(hosts) as kazoo:
        session = Slow(hosts)
        session.start()
        survey = Survey(session, clock=lambda: session.now)

        def submit(number: int) -> None:
            """Add a task, and return when the survey has been told of it."""
            session.wake.clear()
            task = Task(paths.task_id(CLIENT, number), "echo")
            kazoo.create(paths.task(task.id), records.encode_task(task, b""))
            assert session.wake.wait(10.0)

        def known() -> int:
            survey.refresh()
            return sum(len(list(queue)) for queue in survey.snapshot().pending.values())

        assert known() == 0
        submit(1)
        assert [known(), known(), session.listings] == [0, 0, 1]
        due = survey.next_look()
        assert due is not None
        share = (1.0 - SHORT_LISTING) / (due - session.now + 1.0 - SHORT_LISTING)
        assert abs(share - LISTING_SHARE) < 1e-6
        session.now, session.takes = due, SHORT_LISTING
        assert [known(), session.listings] == [1, 2]
        submit(2)
        assert [known(), session.listings] == [2, 3]
        session.close()
