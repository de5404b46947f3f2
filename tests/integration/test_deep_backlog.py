"""A long list of pending tasks: the primary does not spend its time on rereading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient

from masterworker.words import paths, records
from masterworker.words.model import Task
from masterworker.zookeeper import survey
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


class Scene:
    """A survey of a tree with one task, under the clock of its session."""

    def __init__(self, hosts: str, kazoo: KazooClient) -> None:
        self.session = Slow(hosts)
        self.session.start()
        self.survey = Survey(self.session, clock=lambda: self.session.now)
        self._kazoo = kazoo
        self._submitted = 0
        self._create()

    def submit(self) -> None:
        """Add a task, and return when the survey has been told of it."""
        self.session.wake.clear()
        self._create()
        assert self.session.wake.wait(30.0)

    def known(self) -> int:
        """How many tasks the survey knows of after another look."""
        self.survey.refresh()
        return sum(len(list(queue)) for queue in self.survey.snapshot().pending.values())

    def _create(self) -> None:
        self._submitted += 1
        task = Task(paths.task_id(CLIENT, self._submitted), "echo")
        self._kazoo.create(paths.task(task.id), records.encode_task(task, b""))


@pytest.fixture
def scene(hosts: str) -> Iterator[Scene]:
    with tree(hosts) as kazoo:
        scene = Scene(hosts, kazoo)
        yield scene
        scene.session.close()


def test_listing_takes_a_bounded_share_of_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of one second is followed by nine without, whatever changes; a short one by none.

    Until then what is known is worked on, and the survey says when the next listing is due.
    """
    monkeypatch.setattr(survey, "SECONDS_PER_NAME", 1.0)  # each stands for a great many
    session = scene.session
    assert scene.known() == 1
    scene.submit()
    assert [scene.known(), scene.known(), session.listings] == [1, 1, 1]
    due = scene.survey.next_look()
    assert due is not None
    share = (1.0 - SHORT_LISTING) / (due - session.now + 1.0 - SHORT_LISTING)
    assert abs(share - LISTING_SHARE) < 1e-6
    session.now, session.takes = due, SHORT_LISTING
    assert [scene.known(), session.listings] == [2, 2]
    scene.submit()
    assert [scene.known(), session.listings] == [3, 3]


def test_listing_that_waited_for_zookeeper_puts_off_no_other(scene: Scene) -> None:
    """A short list that took seconds costs nothing but those: new tasks are seen at once."""
    assert scene.known() == 1
    scene.submit()
    assert [scene.known(), scene.session.listings] == [2, 2]
