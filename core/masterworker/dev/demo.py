"""`make demo`: files and tasks go through a real cluster while two of its processes are killed.

It tells one line for each thing that happens, with the seconds since the start. Every number is
measured as it runs; if one promise is not kept, it says which and ends with exit code 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import click

from ..roles.client import Client
from ..roles.future import TaskFuture
from ..words import paths
from ..words.errors import MasterworkerError
from ..zookeeper.auditor import Auditor
from ..zookeeper.operations import Znode
from ..zookeeper.session import Session
from .cluster import Cluster
from .folders import TemporaryFolder
from .processes import Process

SESSION_TIMEOUT: Final = 2.0
"""Seconds; it bounds how long the death of a master or a worker goes unnoticed."""

TASKS: Final = 400
SLOTS: Final = 4
CONFIG: Final = """\
[executors.command.allow]
digest = ["sh", "-c", "sleep 0.2; sha256sum"]
"""

PRIMARY_DIES_AT: Final = 0.2
WORKER_DIES_AT: Final = 0.5
"""The parts of the tasks that are done when the primary and a worker are killed."""

DEADLINE: Final = 60.0
"""Seconds that anything may take."""

POLL_INTERVAL: Final = 0.005
"""Seconds between two looks, and so how exact the times told are."""

BAR: Final = 40
"""Characters of the progress bar."""


class NotAsPromised(Exception):
    """Something did not happen, or not as this demo had said it would."""


class Story:
    """Lines on stdout; below the last one, if stderr is a terminal, a progress bar."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = ""

    def tell(self, text: str) -> None:
        """One event."""
        self._draw("")
        click.echo(f"{time.monotonic() - self._began:5.1f} s  {text}")

    def progress(self, done: int, total: int) -> None:
        """How far the tasks have come."""
        filled = BAR * done // total
        bar = f"         [{'#' * filled}{'.' * (BAR - filled)}] {done} of {total} tasks"
        self._draw(bar if done < total else "")

    def _draw(self, bar: str) -> None:
        if self._terminal and bar != self._shown:
            click.echo(f"\r\x1b[K{bar}", nl=False, err=True)  # first clear the line
            self._shown = bar


class Demo:
    """The scenes, in the order in which they are played."""

    def __init__(self, story: Story, cluster: Cluster, client: Client, session: Session) -> None:
        self._story = story
        self._cluster = cluster
        self._client = client
        self._session = session
        self._futures: dict[str, TaskFuture] = {}

    def files(self, files: Sequence[Path]) -> int:
        """Send files through `echo`; the number of tasks that were."""
        payloads = [file.read_bytes() for file in files]
        began = time.monotonic()
        futures = self._client.submit_many(payloads, executor="echo")
        self._wait_for(lambda: all(future.done() for future in futures), "the files came back")
        took = _milliseconds(began)
        same = _count_equal(futures, payloads)
        self._story.tell(
            f"{same} of {len(files)} files came back through `echo` unchanged: "
            f"{sum(map(len, payloads)):,} bytes in {took}"
        )
        _promise(same == len(files), "every file comes back unchanged")
        return len(files)

    def submit(self, payloads: Sequence[bytes]) -> list[TaskFuture]:
        """Submit tasks that take a moment each."""
        began = time.monotonic()
        futures = self._client.submit_many(
            payloads, executor="command", options={"command": "digest"}
        )
        self._client.flush(DEADLINE)
        self._futures = {future.task_id: future for future in futures}
        self._story.tell(
            f"{len(futures)} tasks accepted in {_milliseconds(began)}; each runs the command "
            f"{CONFIG.splitlines()[1].partition(' = ')[2]}"
        )
        return futures

    def kill_primary(self) -> None:
        """Kill the primary in the middle of its work; measure until another is in office."""
        self._wait_until_done(PRIMARY_DIES_AT)
        victim = self._cluster.primary()
        if victim is None:
            raise NotAsPromised("there is no primary to kill")
        before = self._epoch()
        killed = self._kill(victim, f"the primary, {_name(victim)}")
        self._wait_for(lambda: self._epoch() != before, "a backup master takes over")
        took, heir = _milliseconds(killed), self._cluster.primary()
        if heir is None or heir is victim:
            raise NotAsPromised("a backup master takes over when the primary is gone")
        self._story.tell(f"{_name(heir)} took over {took} after the kill")

    def kill_worker(self) -> None:
        """Kill the busiest worker; measure until all its tasks are with others."""
        self._wait_until_done(WORKER_DIES_AT)
        status = self._cluster.status()
        busiest = max(status.workers, key=lambda worker: status.assigned.get(worker, 0))
        pid = status.workers[busiest].pid
        victim = next(worker for worker in self._cluster.workers if worker.pid == pid)
        killed = self._kill(victim, _name(victim))
        # Read only now: what it held when it died stays in its folder until the primary acts.
        held = set(self._assigned_to(busiest))
        self._wait_for(
            lambda: held.isdisjoint(self._assigned_to(busiest)),
            "a dead worker's tasks are recovered",
        )
        self._story.tell(
            f"its {len(held)} tasks were recovered {_milliseconds(killed)} after the kill"
        )
        self._wait_for(self._run(held, status.workers.keys() - {busiest}), "they run elsewhere")
        self._story.tell(
            f"all of them were assigned to other workers {_milliseconds(killed)} after the kill"
        )

    def finish(self, futures: Sequence[TaskFuture], expected: Sequence[bytes]) -> None:
        """Wait for the rest, and compare every result."""
        self._wait_until_done(1.0)
        right = _count_equal(futures, expected)
        self._story.tell(f"{right} of {len(futures)} results arrived and are correct")
        _promise(right == len(futures), "every task has its result")

    # --- observing --------------------------------------------------------------------------

    def _kill(self, process: Process, what: str) -> float:
        done = self._done()
        killed = time.monotonic()
        process.kill()
        self._story.tell(f"kill -9 {what}, with {done} of {len(self._futures)} tasks done")
        return killed

    def _done(self) -> int:
        return sum(future.done() for future in self._futures.values())

    def _run(self, tasks: Iterable[str], workers: Iterable[str]) -> Callable[[], bool]:
        """Whether each of these tasks has been with one of these workers, or is done."""
        left = set(tasks)

        def have_run() -> bool:
            for worker in workers:
                left.difference_update(self._assigned_to(worker))
            left.difference_update([task for task in left if self._futures[task].done()])
            return not left

        return have_run

    def _epoch(self) -> int:
        (found,) = self._session.read([paths.EPOCH])
        return found.version if isinstance(found, Znode) else 0

    def _assigned_to(self, worker: str) -> list[str]:
        return self._session.children(paths.assignments(worker)).wait() or []

    def _wait_until_done(self, part: float) -> None:
        wanted = part * len(self._futures)
        self._wait_for(lambda: self._done() >= wanted, f"{part:.0%} of the tasks are done")

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > until:
                raise NotAsPromised(f"not within {DEADLINE:g} s: {what}")
            if self._futures:
                self._story.progress(self._done(), len(self._futures))
            time.sleep(POLL_INTERVAL)


def play(story: Story, config: Path) -> None:
    """Run all scenes. Raises NotAsPromised, or MasterworkerError if something else fails."""
    story.tell(
        "starting ZooKeeper, 2 masters and 3 workers with "
        f"{SLOTS} slots; session timeout {SESSION_TIMEOUT:g} s"
    )
    cluster = Cluster(
        masters=2,
        workers=3,
        executors=["echo", "command"],
        session_timeout=SESSION_TIMEOUT,
        slots=SLOTS,
        config=config,
    )
    with cluster:
        primary = cluster.primary()
        story.tell(f"ready at {cluster.hosts}; primary is {primary and _name(primary)}")
        session = Session(cluster.hosts)
        session.start()
        with Client(cluster.hosts) as client:
            demo = Demo(story, cluster, client, session)
            submitted = demo.files(_files())
            payloads = [f"task {number}".encode() for number in range(TASKS)]
            futures = demo.submit(payloads)
            demo.kill_primary()
            demo.kill_worker()
            demo.finish(futures, [_digest(payload) for payload in payloads])
            submitted += len(futures)
        # The client is closed: its ledger counts every result it has taken.
        _audit(story, session, submitted)
        session.close()


def _audit(story: Story, session: Session, submitted: int) -> None:
    report = Auditor(session).report()
    story.tell(
        f"audit of the tree: accepted {report.accepted}, finished and taken {report.taken}, "
        f"lost {report.lost}, recorded twice {report.recorded_twice}"
    )
    _promise(report.ok, f"the audit finds nothing: {'; '.join(report.findings)}")
    _promise(report.accepted == report.taken == submitted, f"{submitted} accepted and taken")


def _files() -> list[Path]:
    """The README, the docs and the sources; of an installed package, its sources."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    found = [root / "README.md", *root.glob("docs/*.md"), *package.rglob("*.py")]
    return [file for file in found if file.is_file()]


def _digest(payload: bytes) -> bytes:
    """What `sha256sum` writes."""
    return f"{hashlib.sha256(payload).hexdigest()}  -\n".encode()


def _count_equal(futures: Sequence[TaskFuture], expected: Sequence[bytes]) -> int:
    """How many of these finished tasks have the result expected."""
    pairs = zip(futures, expected, strict=True)
    return sum(future.exception() is None and future.result() == want for future, want in pairs)


def _promise(kept: bool, what: str) -> None:
    if not kept:
        raise NotAsPromised(what)


def _milliseconds(since: float) -> str:
    return f"{(time.monotonic() - since) * 1000:,.0f} ms"


def _name(process: Process) -> str:
    return f"{process.name} (pid {process.pid})"


def main() -> int:
    """Play it; the exit code is 1 if anything was not as promised."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    try:
        with contextlib.closing(TemporaryFolder("masterworker-demo-")) as folder:
            config = folder.path / "demo.toml"
            config.write_text(CONFIG)
            play(story, config)
    except NotAsPromised as broken:
        story.tell(f"NOT AS PROMISED: {broken}")
        return 1
    except MasterworkerError as error:
        story.tell(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        story.tell("interrupted")
        return 130
    story.tell("everything as promised; the cluster is stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
