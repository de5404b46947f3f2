"""The whole system on the model, under every fault hypothesis can think of.

Masters, workers and clients are the product's own, each standing at its next request; a rule says
who goes on, and what is lost, cut, delayed or ended before it does. The judge looks at every
committed write. In the end the faults stop, and everything must come to rest: every accepted task
ended once, every living client told, the audit content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.cluster import Cluster
from tests.model.world import Process
from tests.unit import strategies  # noqa: F401 - sets the profile

MOST_ALIKE = 3
"""Living processes of one role at the most."""

CHOICE = st.integers(0, 11)
"""Which of several, counted round."""

logging.getLogger("masterworker").setLevel(logging.CRITICAL)  # faults are what we are here for


class System(RuleBasedStateMachine):
    """A cluster, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.world = self.cluster.world

    def pick(self, processes: Iterable[Process], choice: int) -> Process | None:
        """One of the living."""
        living = [process for process in processes if not process.over]
        return living[choice % len(living)] if living else None

    # --- who is there --------------------------------------------------------------------------

    @initialize(slots=st.integers(1, 3), tasks=st.integers(1, 6), rounds=st.integers(0, 25))
    def begin(self, slots: int, tasks: int, rounds: int) -> None:
        self.cluster.add_master()
        self.cluster.add_master()
        self.cluster.add_worker(slots)
        self.cluster.submit(self.cluster.add_client(), tasks, attempts=2)
        self.run_all(rounds)

    @rule(role=st.sampled_from(["master", "worker", "client"]), slots=st.integers(1, 3))
    def join(self, role: str, slots: int) -> None:
        cluster = self.cluster
        alike = {"master": cluster.masters, "worker": cluster.workers, "client": cluster.clients}
        if sum(not process.over for process in alike[role]) >= MOST_ALIKE:
            return
        if role == "master":
            cluster.add_master()
        elif role == "worker":
            cluster.add_worker(slots)
        else:
            cluster.add_client()

    @rule(choice=CHOICE, count=st.integers(1, 5), attempts=st.integers(1, 2))
    def submit(self, choice: int, count: int, attempts: int) -> None:
        client = self.pick(self.cluster.clients, choice)
        if client is not None:
            self.cluster.submit(client, count, attempts)

    @rule(choice=CHOICE)
    def leave(self, choice: int) -> None:
        """A master or a worker is told to stop; a worker told twice stops cold."""
        process = self.pick([*self.cluster.masters, *self.cluster.workers], choice)
        if process in self.cluster.masters:
            self.cluster.masters[process].stop()
        elif process in self.cluster.workers:
            self.cluster.workers[process].stop()

    # --- going on ------------------------------------------------------------------------------

    @rule(choice=CHOICE, steps=st.integers(1, 10), thread=st.integers(0, 1))
    def run(self, choice: int, steps: int, thread: int) -> None:
        """One process goes on, from request to request."""
        process = self.pick(self.world.processes, choice)
        for _ in range(steps):
            if process is None or process.over or not self.cluster.step(process, thread):
                return

    @rule(rounds=st.integers(1, 20))
    def run_all(self, rounds: int) -> None:
        """All go on, taking turns."""
        for _ in range(rounds):
            self.cluster.round()

    @rule(choice=CHOICE, which=CHOICE, how=st.sampled_from(["done", "failed", "interrupted"]))
    def finish(self, choice: int, which: int, how: str) -> None:
        """An attempt ends."""
        worker = self.pick(self.cluster.workers, choice)
        if worker is not None:
            hands = self.cluster.hands(worker)
            jobs = sorted(hands.jobs)
            if jobs:
                hands.finish(jobs[which % len(jobs)], how)

    @rule(seconds=st.sampled_from([0.3, 2.0, 11.0, 40.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    # --- faults --------------------------------------------------------------------------------

    @rule(choice=CHOICE, arriving=st.integers(0, 3), stray=st.booleans())
    def cut(self, choice: int, arriving: int, stray: bool) -> None:
        """A connection breaks: some requests are carried out unheard, others are lost, or late."""
        process = self.pick(self.world.processes, choice)
        for session in process.sessions[-1:] if process else []:
            self.world.cut(session, arriving, stray=stray)

    @rule(choice=CHOICE)
    def reconnect(self, choice: int) -> None:
        process = self.pick(self.world.processes, choice)
        if process is not None:
            self.cluster.reconnect(process)

    @precondition(lambda self: self.world.strays)
    @rule(choice=CHOICE)
    def deliver_late(self, choice: int) -> None:
        self.world.deliver_stray(choice % len(self.world.strays))

    @rule(choice=CHOICE)
    def expire(self, choice: int) -> None:
        """The leader ends a session; its owner, dead or alive, hears of it later."""
        processes = self.world.processes
        self.cluster.expire(processes[choice % len(processes)])

    @rule(choice=CHOICE, arriving=st.integers(0, 3))
    def crash(self, choice: int, arriving: int) -> None:
        process = self.pick(self.world.processes, choice)
        if process is not None:
            self.world.kill(process, arriving)

    @rule(choice=CHOICE)
    def deliver_early(self, choice: int) -> None:
        """A request is carried out before anybody waits for its answer."""
        process = self.pick(self.world.processes, choice)
        for session in process.sessions[-1:] if process else []:
            if session.connected and session.under_way:
                session.deliver()

    @rule(choice=CHOICE, lagging=st.booleans())
    def lag(self, choice: int, lagging: bool) -> None:
        """A server hears of no new changes, or of all of them."""
        replica = self.cluster.replicas[choice % len(self.cluster.replicas)]
        replica.lagging = lagging
        if not lagging:
            replica.catch_up()

    @rule()
    def depose(self) -> None:
        self.cluster.depose()

    # --- what must hold ------------------------------------------------------------------------

    @invariant()
    def the_audit_is_content(self) -> None:
        """Whatever has happened, nothing is lost and nothing recorded twice."""
        self.cluster.audit()

    def teardown(self) -> None:
        """The faults stop, and somebody is there to work."""
        try:
            self.cluster.heal()
            self.cluster.add_master()
            self.cluster.add_worker(3)
            self.cluster.converge()
            self.cluster.audit()
        finally:
            self.cluster.end()


TestSystem = System.TestCase
TestSystem.settings = settings(
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
