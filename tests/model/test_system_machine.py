"""The whole system on the model, under every fault hypothesis can think of.

Masters, workers and clients are the product's own, each standing at its next request; a rule says
who goes on, and what is lost, cut, delayed or ended before it does. The judge looks at every
committed write. In the end the faults stop, and everything must come to rest: every accepted task
ended once, every living client told, the audit content.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.cluster import Cluster
from tests.model.world import Process
from tests.unit import strategies  # noqa: F401 - sets the profile

MOST_ALIKE = 3
"""Living processes of one role at the most."""

CHOICE = st.integers(0, 15)
"""Which of several, counted round."""

ATTEMPTS = st.sampled_from(["last", "end", "fail", "are cut short"])
"""What becomes of the attempts that run."""


class System(RuleBasedStateMachine):
    """A cluster, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.world = self.cluster.world
        self.audited = 0

    def pick(self, processes: Iterable[Process], choice: int) -> Process | None:
        """One of the living."""
        living = [process for process in processes if not process.over]
        return living[choice % len(living)] if living else None

    def pick_victim(self, choice: int) -> Process | None:
        """One of the living, every other time at its next write: there faults do most."""
        victim = self.pick(self.world.processes, choice // 2)
        if victim is not None and choice % 2:
            self.cluster.run_to_write(victim)
        return victim

    # --- who is there --------------------------------------------------------------------------

    @initialize(
        slots=st.integers(1, 3),
        tasks=st.integers(1, 6),
        rounds=st.integers(0, 8),
        attempts=ATTEMPTS,
    )
    def begin(self, slots: int, tasks: int, rounds: int, attempts: str) -> None:
        self.cluster.add_master()
        self.cluster.add_master()
        self.cluster.add_worker(slots)
        self.cluster.submit(self.cluster.add_client(), tasks, attempts=2)
        self.run_all(rounds, steps=20, attempts=attempts)

    @rule(role=st.sampled_from(["master", "worker", "client"]), slots=st.integers(1, 3))
    def join(self, role: str, slots: int) -> None:
        cluster = self.cluster
        alike: dict[str, Iterable[Process]] = {
            "master": cluster.masters,
            "worker": cluster.workers,
            "client": cluster.clients,
        }
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

    # --- going on ------------------------------------------------------------------------------

    @rule(choice=CHOICE, steps=st.integers(1, 5), thread=st.integers(0, 1))
    def run(self, choice: int, steps: int, thread: int) -> None:
        """One process goes on, from request to request."""
        process = self.pick(self.world.processes, choice)
        if process is not None:
            self.cluster.step(process, steps, thread)

    @rule(choice=CHOICE)
    def run_to_write(self, choice: int) -> None:
        """One process goes on to its next write, where faults do most."""
        process = self.pick(self.world.processes, choice)
        if process is not None:
            self.cluster.run_to_write(process)

    @rule(rounds=st.integers(1, 10), steps=st.integers(1, 20), attempts=ATTEMPTS)
    def run_all(self, rounds: int, steps: int, attempts: str) -> None:
        """All go on, taking turns, on a network that works."""
        for process in self.cluster.living:
            self.cluster.reconnect(process)
        for _ in range(rounds):
            self.cluster.round(steps)
            if attempts != "last":
                self.cluster.finish_all(attempts)

    @rule(seconds=st.sampled_from([0.3, 2.0, 11.0, 40.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)

    # --- faults --------------------------------------------------------------------------------

    @rule(
        choice=CHOICE,
        what=st.sampled_from(["cut", "deliver", "reconnect"]),
        arriving=st.integers(0, 3),
        stray=st.booleans(),
    )
    def network(self, choice: int, what: str, arriving: int, stray: bool) -> None:
        """A connection breaks, with requests that are carried out unheard, lost, or late.

        Or one comes back; or a request is carried out before anybody waits for its answer.
        """
        process = self.pick_victim(choice)
        for session in process.sessions[-1:] if process else []:
            if what == "cut":
                self.world.cut(session, arriving, stray=stray)
            elif process is not None and not session.connected:
                self.cluster.reconnect(process)
            elif what == "deliver" and session.under_way:
                session.deliver()

    @rule(
        choice=CHOICE,
        what=st.sampled_from(["nothing", "cut", "expire", "depose"]),
        rounds=st.integers(1, 6),
    )
    def stand_still(self, choice: int, what: str, rounds: int) -> None:
        """A process stands still in the middle of a write, while the others go on without it."""
        process = self.pick_victim(choice)
        if process is None:
            return
        if what == "cut":
            for session in process.sessions[-1:]:
                self.world.cut(session, 1, stray=True)
        elif what == "expire":
            self.cluster.expire(process)
        elif what == "depose":
            self.cluster.depose()
        for _ in range(rounds):
            self.cluster.round(20, without=process)

    @precondition(lambda self: self.world.strays)
    @rule(choice=CHOICE)
    def deliver_late(self, choice: int) -> None:
        self.world.deliver_stray(choice % len(self.world.strays))

    @rule(
        choice=CHOICE, how=st.sampled_from(["stop", "kill", "expire"]), arriving=st.integers(0, 3)
    )
    def end(self, choice: int, how: str, arriving: int) -> None:
        """A process is told to stop, or killed, or its session ends, dead or alive."""
        if how == "expire":
            self.cluster.expire(self.world.processes[choice % len(self.world.processes)])
            return
        process = self.pick_victim(choice)
        if process is None:
            return
        if how == "kill":
            self.world.kill(process, arriving)
        else:
            self.cluster.stop(process)

    @rule(choice=CHOICE, lagging=st.booleans())
    def lag(self, choice: int, lagging: bool) -> None:
        """A server hears of no new changes, or of all of them."""
        replica = self.cluster.replicas[choice % len(self.cluster.replicas)]
        replica.lagging = lagging
        if not lagging:
            replica.catch_up()

    # --- what must hold ------------------------------------------------------------------------

    @invariant()
    def the_audit_is_content(self) -> None:
        """Whatever has happened, nothing is lost and nothing recorded twice."""
        if self.audited < len(self.cluster.store.history):
            self.cluster.audit()
            self.audited = len(self.cluster.store.history)

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


EXAMPLES = os.environ.get("MWCTL_MODEL_EXAMPLES")
"""How many histories to try, other ones each time; without it a few, always the same."""

SETTINGS = settings(
    deadline=None,
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)

TestSystem = System.TestCase
TestSystem.settings = SETTINGS
