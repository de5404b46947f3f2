"""A worker that was silent, step by step: moments too short to be hit with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from masterworker.execution.attempts import Job
from tests.model.cluster import Cluster, Hands
from tests.model.world import Process


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.end()


def at_work(cluster: Cluster) -> tuple[Process, Hands]:
    """A worker that runs one task."""
    cluster.add_master()
    worker = cluster.add_worker(1)
    cluster.submit(cluster.add_client(), 1, attempts=1)
    hands = cluster.hands(worker)
    while not hands.jobs:
        assert cluster.round()
    return worker, hands


def test_an_attempt_that_was_cut_short_begins_again(cluster: Cluster) -> None:
    """At once and by itself: nothing else may happen for a long time that would wake the worker."""
    worker, hands = at_work(cluster)
    main = worker.actors[0]
    (task,) = hands.jobs
    hands.finish(task, "are cut short")
    while main.is_ready:
        main.resume()
    assert task in hands.jobs


def test_a_silence_that_only_the_worker_noticed_ends(cluster: Cluster) -> None:
    """A heartbeat answered before the heart looked up: the attempts go on all the same."""
    worker, hands = at_work(cluster)
    main, heart = worker.actors
    (session,) = worker.sessions
    cluster.world.advance(session.timeout * 0.9)
    session.wake.set()
    main.resume()
    assert not hands.jobs, "the worker has fallen silent"

    def beat() -> None:
        session.confirmed = cluster.world.now()

    session.beat = beat  # type: ignore[method-assign]
    heart.resume()
    cluster.world.advance(session.timeout / 4)
    assert main.is_ready, "nobody would ever wake it"
    main.resume()
    job: Job = next(iter(hands.jobs.values()))
    assert job.context.attempt == 1


def test_a_silence_that_ends_while_attempts_are_stopped_ends(cluster: Cluster) -> None:
    """A round that stopped the attempts looked at nothing: the next comes soon, not in 30 s."""
    worker, hands = at_work(cluster)
    main = worker.actors[0]
    (session,) = worker.sessions
    stop_all = hands.stop_all

    def answered_meanwhile() -> None:
        session.confirmed = cluster.world.now()
        stop_all()

    hands.stop_all = answered_meanwhile  # type: ignore[method-assign]
    cluster.world.advance(session.timeout * 0.9)
    session.wake.set()
    main.resume()
    assert not hands.jobs, "the worker has fallen silent"
    cluster.world.advance(session.timeout / 4)
    assert main.is_ready, "nobody would ever wake it"
    main.resume()
    assert hands.jobs
