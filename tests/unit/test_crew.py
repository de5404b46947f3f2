"""The worker's runners as one: nothing runs before it is entered, or after it is left."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from masterworker import BadConfiguration
from masterworker.roles.crew import Crew
from masterworker.words.executor import Executor, Offer

EXECUTORS: dict[str, Executor | Offer] = {
    "inline": Executor("inline", lambda payload, _task: payload, inline=True),
    "process": Offer("process", plugin="somewhere", module="somewhere"),
}


def running() -> tuple[set[threading.Thread], str]:
    """The threads and the child processes of this process."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return set(threading.enumerate()), children


def test_construction_starts_nothing() -> None:
    """No thread and no process before it is entered; none is left afterwards."""
    before = running()
    crew = Crew(EXECUTORS, 2, threading.Event(), {})
    assert running() == before
    with crew:
        assert running() != before
    assert running() == before


def test_a_construction_that_fails_leaves_nothing_behind() -> None:
    """A configuration that cannot be handed to a process is refused before anything is started."""
    before = running()
    with pytest.raises(BadConfiguration):
        Crew(EXECUTORS, 2, threading.Event(), {"process": {"when": object()}})
    assert running() == before
