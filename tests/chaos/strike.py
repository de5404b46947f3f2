"""One fault in progress: its target, its waits, and its line in the journal."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.chaos.actors import Actor
from tests.chaos.journal import Journal
from tests.chaos.schedule import Fault
from tests.chaos.stage import Stage

POLL: Final = 0.05  # seconds

PATIENCE: Final = 8.0
"""Seconds that a fault waits for what it needs: a target, a request to drop, a failpoint."""

TURN_PATIENCE: Final = 30.0
"""Seconds that a fault waits for another one that excludes it."""

RESTED: Final = 2.0
"""Seconds within which a target between two processes must be running again."""


class Skipped(Exception):
    """This fault could not be carried out."""


class Strike:
    """One fault in progress, and its entries for the journal."""

    def __init__(self, stage: Stage, fault: Fault, journal: Journal) -> None:
        self.stage = stage
        self.fault = fault
        self.journal = journal
        self.why = f"fault {fault.number}"
        self.target = fault.target
        self.pid: int | None = None
        self.began = time.time()
        self.detail: dict[str, Any] = dict(fault.detail)

    @contextlib.contextmanager
    def victim(self) -> Iterator[Actor]:
        """The fault's target, determined now and claimed until it is released."""
        actor = self._target()
        if actor is None:
            raise Skipped(f"there is no {self.fault.target} now")
        with actor.claimed():
            self.until(lambda: actor.alive, RESTED)
            self.target, self.pid, self.began = actor.name, actor.pid, time.time()
            if self.pid is None:
                raise Skipped(f"{actor.name} does not run now")
            yield actor

    def hold(self, seconds: float) -> None:
        """Let the fault last, unless the campaign is over."""
        self.stage.over.wait(seconds)

    def until(self, condition: Callable[[], object], deadline: float) -> bool:
        """Wait for a condition; return whether it came true within `deadline` seconds."""
        until = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > until or self.stage.over.wait(POLL):
                return False
        return True

    def end(self, skipped: str | None) -> None:
        """Journal the fault."""
        self.journal.write(
            {
                "number": self.fault.number,
                "kind": self.fault.kind,
                "target": self.target,
                "began": self.began,
                "ended": time.time(),
                "pid": self.pid,
                "detail": self.detail,
                "skipped": skipped,
            }
        )

    def _target(self) -> Actor | None:
        stage, target = self.stage, self.fault.target
        if target == "primary":
            self.until(stage.primary, PATIENCE)
            return stage.primary()
        if target in ("leader", "follower"):
            leader = stage.leader()
            followers = [server for server in stage.zookeepers if server is not leader]
            return leader if target == "leader" else followers[self.fault.number % len(followers)]
        return stage.actor(target)


@contextlib.contextmanager
def turn(lock: threading.Lock, otherwise: str) -> Iterator[None]:
    """Wait for the lock, or skip the fault."""
    if not lock.acquire(timeout=TURN_PATIENCE):
        raise Skipped(otherwise)
    try:
        yield
    finally:
        lock.release()
