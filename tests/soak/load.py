"""The load: tasks at a steady pace, from one client that stays and others that come and go.

It runs in its own process, so that the memory of clients is measured separately. Every task is due
at a time fixed in advance: after a slow moment the load catches up, and the count is as planned.
"""

from __future__ import annotations

import json
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import msgpack

from masterworker import Client

STEP: Final = 0.1
"""Seconds between two batches of one client."""

BEHIND: Final = 2_000
"""Unfinished tasks at which a client waits instead of submitting more."""

VISIT: Final = 10.0
"""Seconds that a visiting client stays."""

VISITORS_SHARE: Final = 0.3
"""The part of the tasks that visitors submit."""

CHILD_SHARE: Final = 0.05
"""The part of the tasks that run in child processes; all others run inside the worker."""

LEFT_BEHIND: Final = 20
"""Tasks whose results a visitor does not wait for: the master must clean up after it."""

FUNCTION: Final = "math:sqrt"
"""What the executor `python` is asked to call; the cluster's configuration must allow it."""

HEADROOM: Final = 1.05
"""Visitors submit nothing while they come and go: the pace is higher by more than that."""

DEADLINE: Final = 120.0
"""Seconds that any result may take."""


@dataclass
class Tally:
    """The outcomes of the tasks, counted by the clients' threads."""

    submitted: int = 0
    done: int = 0
    failed: int = 0
    wrong: int = 0
    left_behind: int = 0
    clients: int = 0
    _seconds: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, count: int) -> None:
        """Tasks were submitted."""
        with self._lock:
            self.submitted += count

    def leave(self, count: int) -> None:
        """A client leaves, with this many unfinished tasks."""
        with self._lock:
            self.clients += 1
            self.left_behind += count

    def end(self, future: Future[bytes], expected: bytes, began: float) -> None:
        """A task's future is done."""
        took = time.monotonic() - began
        with self._lock:
            self.done += 1
            self._seconds.append(took)
            if future.exception() is not None:
                self.failed += 1
            elif future.result() != expected:
                self.wrong += 1

    def window(self) -> dict[str, float]:
        """All counts, and the latencies since the last call in seconds."""
        with self._lock:
            seconds, self._seconds = sorted(self._seconds), []
            counts: dict[str, float] = {
                "submitted": self.submitted,
                "done": self.done,
                "failed": self.failed,
                "wrong": self.wrong,
                "left_behind": self.left_behind,
                "clients": self.clients,
                "outstanding": self.submitted - self.done,
            }
        if seconds:
            counts["p50"] = statistics.median(seconds)
            counts["p99"] = seconds[math.ceil(0.99 * len(seconds)) - 1]
            counts["longest"] = seconds[-1]
        return counts


class Pace:
    """Tasks due at even intervals, `rate` a second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock, self._began, self._given = rate, clock, clock(), 0

    def due(self) -> int:
        """How many tasks have become due since the last call."""
        due = int((self._clock() - self._began) * self._rate) - self._given
        self._given += due
        return due


class Load:
    """The clients of one run: `tasks` tasks in `seconds`, a part of them for child processes."""

    def __init__(self, hosts: str, tasks: int, seconds: float, child_share: float) -> None:
        self._child_share = child_share
        self._hosts = hosts
        self._tasks = tasks
        self._rate = HEADROOM * tasks / seconds
        self._ends = time.monotonic() + seconds
        self.tally = Tally()

    def run(self) -> None:
        """Submit everything, and wait for every result."""
        visitors = threading.Thread(target=self._visitors, name="visitors")
        visitors.start()
        with Client(self._hosts) as client:
            self._submit(client, self._rate * (1 - VISITORS_SHARE), self._ends)
            visitors.join()
            self._make_up(client)

    def _visitors(self) -> None:
        while (now := time.monotonic()) < self._ends:
            with Client(self._hosts) as client:
                self._submit(client, self._rate * VISITORS_SHARE, min(now + VISIT, self._ends))
                client.submit_many([b"nobody waits for this"] * LEFT_BEHIND, executor="echo")
                client.flush(DEADLINE)
                self.tally.leave(LEFT_BEHIND)

    def _submit(self, client: Client, rate: float, until: float) -> None:
        """Submit at a steady pace until a time, and wait for the results."""
        pace, child = Pace(rate), Pace(rate * self._child_share)
        waiting: set[Future[bytes]] = set()
        tick = threading.Event()
        while time.monotonic() < until:
            tick.wait(STEP)
            if len(waiting) < BEHIND:
                count = pace.due()
                few = min(count, child.due())
                self._post(client, waiting, count - few, few)
        _wait(waiting)

    def _make_up(self, client: Client) -> None:
        """Submit what is missing of the count, where clients took longer to come than planned."""
        waiting: set[Future[bytes]] = set()
        self._post(client, waiting, max(0, self._tasks - self.tally.submitted), 0)
        _wait(waiting)

    def _post(self, client: Client, waiting: set[Future[bytes]], inline: int, child: int) -> None:
        number = self.tally.submitted
        payloads = [b"%020d" % (number + n) for n in range(inline)]
        calls = [msgpack.packb({"args": [number + n]}) for n in range(child)]
        roots = [msgpack.packb(math.sqrt(number + n)) for n in range(child)]
        began = time.monotonic()
        self.tally.submit(inline + child)
        futures = client.submit_many(payloads, executor="echo")
        futures += client.submit_many(calls, executor="python", options={"function": FUNCTION})
        waiting.update(futures)
        for future, expected in zip(futures, payloads + roots, strict=True):

            def ended(future: Future[bytes], expected: bytes = expected) -> None:
                self.tally.end(future, expected, began)
                waiting.discard(future)

            future.add_done_callback(ended)


def _wait(waiting: set[Future[bytes]]) -> None:
    """Wait for the results."""
    give_up = time.monotonic() + DEADLINE
    for future in list(waiting):
        future.exception(max(0.0, give_up - time.monotonic()))


def windows(load: Load, every: float) -> Iterator[dict[str, float]]:
    """Run a load; what was counted in each `every` seconds, and at last in the rest."""
    thread = threading.Thread(target=load.run, name="load")
    thread.start()
    going = True
    while going:
        thread.join(every)
        going = thread.is_alive()  # before the counts: those after its end are all there are
        yield load.tally.window()


@click.command()
@click.option("--hosts", required=True)
@click.option("--tasks", type=int, required=True)
@click.option("--seconds", type=float, required=True)
@click.option("--every", type=float, required=True)
@click.option("--child-share", type=float, default=CHILD_SHARE)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(
    hosts: str, tasks: int, seconds: float, every: float, child_share: float, output: Path
) -> None:
    """Run the load, and append a line of counts to OUTPUT in each interval."""
    load = Load(hosts, tasks, seconds, child_share)
    with output.open("a", buffering=1) as lines:
        for counts in windows(load, every):
            lines.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
