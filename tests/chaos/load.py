"""A client process of a campaign: submits at a steady rate and journals the outcomes.

`python -m tests.chaos.load` is an open loop: tasks are submitted when they are due, however long
the results take. Only a maximum number of missing results delays submissions, which are made up for
later. After the wall-clock second `--until` it waits for the results and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, cast

from masterworker import Client, ClientClosed, TaskFailed, TaskFuture, Unavailable
from tests.chaos.journal import Journal

BEAT: Final = 0.1
"""Seconds between submissions."""

BURST: Final = 3.0
"""The factor by which it may exceed the rate to make up for delayed submissions."""

OWED: Final = 30.0
"""Seconds of the rate for which results may be missing before submissions are delayed."""

INLINE: Final = 0.95
"""The share of tasks that run inside the worker."""

SLOW: Final = 0.05
"""The share of the others that take 0.2 to 3 seconds."""

LARGE: Final = 0.002
"""The share of tasks with a large payload."""


class Load:
    """The tasks of one client process, their futures, and its journal."""

    def __init__(self, client: Client, journal: Journal, name: str, seed: int, ours: bool) -> None:
        self._client = client
        self._journal = journal
        self._prefix = f"{name}-{os.getpid()}"
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311
        self._acknowledges = ours
        self._tokens: dict[str, str] = {}
        self._done: deque[TaskFuture] = deque()
        self.submitted = 0

    @property
    def owed(self) -> int:
        """How many results have not arrived or are not journalled yet."""
        return len(self._tokens)

    def submit(self, count: int) -> None:
        """Submit that many tasks; their tokens are on disk before."""
        orders = [self._order() for _ in range(count)]
        now = time.time()
        self._journal.write_all(
            {"at": now, "event": "submitting", "token": order["token"], "executor": executor}
            for executor, order in orders
        )
        for executor in ("chaos-inline", "chaos"):
            chosen = [order for wanted, order in orders if wanted == executor]
            payloads = [json.dumps(order).encode() for order in chosen]
            futures = self._client.submit_many(payloads, executor=executor)
            for order, future in zip(chosen, futures, strict=True):
                self._tokens[future.task_id] = order["token"]
                future.add_done_callback(self._note)

    def collect(self) -> None:
        """Journal the results that have arrived; only then acknowledge their statuses."""
        done = [self._done.popleft() for _ in range(len(self._done))]
        self._journal.write_all(line for future in done if (line := self._line(future)))
        if self._acknowledges:
            self._client.acknowledge(*done)
        for future in done:
            del self._tokens[future.task_id]

    def _note(self, future: Future[bytes]) -> None:
        self._done.append(cast("TaskFuture", future))

    def _line(self, future: TaskFuture) -> dict[str, Any] | None:
        line = {
            "at": time.time(),
            "event": "result",
            "token": self._tokens[future.task_id],
            "task": future.task_id,
        }
        try:
            value = future.result()
        except ClientClosed:
            return None  # nothing was handed over
        except TaskFailed as error:
            return line | {"outcome": "failed", "reason": error.reason, "value": None}
        except Exception as error:  # noqa: BLE001 - the judge is to see whatever it was
            return line | {"outcome": "failed", "reason": repr(error), "value": None}
        return line | {"outcome": "succeeded", "reason": None, "value": value.decode()}

    def _order(self) -> tuple[str, dict[str, Any]]:
        self.submitted += 1
        chance = self._chance
        executor = "chaos-inline" if chance.random() < INLINE else "chaos"
        slow = executor == "chaos" and chance.random() < SLOW
        large = chance.random() < LARGE
        return executor, {
            "token": f"{self._prefix}-{self.submitted}",
            "seconds": round(chance.uniform(0.2, 3.0), 2) if slow else 0,
            "pad": "x" * chance.randint(0, 20_000 if large else 60),
        }


def beats() -> Iterator[None]:
    """Come back every BEAT seconds, late ones without a wait."""
    due = time.monotonic()
    while True:
        yield
        due = max(due + BEAT, time.monotonic() - BEAT)
        time.sleep(max(0.0, due - time.monotonic()))


def run(load: Load, rate: float, until: float) -> None:
    """Submit `rate` tasks a second until the wall clock's second `until`, then collect the rest."""
    began = time.time()
    for _ in beats():
        load.collect()
        now = time.time()
        if now < until:
            due = int(rate * (now - began)) - load.submitted
            room = int(rate * OWED) - load.owed
            load.submit(max(0, min(due, room, int(rate * BEAT * BURST) + 1)))
        elif not load.owed:
            return


def main() -> None:
    """Run one client process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", required=True)
    parser.add_argument("journals", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--session-timeout", type=float, required=True)
    parser.add_argument("--acknowledge", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    journal = Journal(options.journals / f"{options.name}-{os.getpid()}.jsonl")
    try:
        client = Client(
            options.hosts,
            session_timeout=options.session_timeout,
            acknowledge=options.acknowledge,
        )
    except Unavailable as error:  # no ZooKeeper answered: for a supervisor, as with `mwctl`
        sys.exit(error.exit_code)
    with client:
        load = Load(client, journal, options.name, options.seed, options.acknowledge)
        run(load, options.rate, options.until)


if __name__ == "__main__":
    main()
