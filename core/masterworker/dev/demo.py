"""`make demo`: runs tasks on a real cluster, and kills a master and a worker meanwhile.

It prints a line for each event, with the seconds since the start. All numbers are measured. If a
guarantee is violated, it prints which one and exits with code 1.
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
"""Seconds until the death of a master or worker is noticed."""

TASKS: Final = 400
SLOTS: Final = 4
CONFIG: Final = """\
[executors.command.allow]
digest = ["sh", "-c", "sleep 0.2; sha256sum"]
"""

PRIMARY_DIES_AT: Final = 0.2
WORKER_DIES_AT: Final = 0.5
"""The fractions of finished tasks at which the primary and a worker are killed."""

DEADLINE: Final = 60.0
"""Maximum seconds for each step."""

POLL_INTERVAL: Final = 0.005
"""Seconds between two checks, and so the accuracy of the printed times."""

BAR: Final = 40
"""Width of the progress bar in characters."""


class DemoFailed(Exception):
    """A guarantee was violated, or an expected event did not happen."""


class Story:
    """Prints events on stdout, and below them a progress bar if stderr is a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = ""

    def tell(self, text: str) -> None:
        """Print an event."""
        self._draw("")
        click.echo(f"{time.monotonic() - self._began:5.1f} s  {text}")

    def progress(self, done: int, total: int) -> None:
        """Update the progress bar."""
        filled = BAR * done // total
        bar = f"         [{'#' * filled}{'.' * (BAR - filled)}] {done} of {total} tasks"
        self._draw(bar if done < total else "")

    def _draw(self, bar: str) -> None:
        if self._terminal and bar != self._shown:
            click.echo(f"\r\x1b[K{bar}", nl=False, err=True)  # clears the line first
            self._shown = bar


class Demo:
    """The steps of the demo, in order."""

    def __init__(self, story: Story, cluster: Cluster, client: Client, session: Session) -> None:
        self._story = story
        self._cluster = cluster
        self._client = client
        self._session = session
        self._futures: dict[str, TaskFuture] = {}

    def files(self, files: Sequence[Path]) -> int:
        """Run one `echo` task per file, and return the number of tasks."""
        payloads = [file.read_bytes() for file in files]
        began = time.monotonic()
        futures = self._client.submit_many(payloads, executor="echo")
        self._wait_for(lambda: all(future.done() for future in futures), "all files are returned")
        took = _milliseconds(began)
        same = _count_equal(futures, payloads)
        self._story.tell(
            f"executor `echo` returned {same} of {len(files)} files unchanged: "
            f"{sum(map(len, payloads)):,} bytes in {took}"
        )
        _check(same == len(files), "every file is returned unchanged")
        return len(files)

    def submit(self, payloads: Sequence[bytes]) -> list[TaskFuture]:
        """Submit tasks that each take a moment."""
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
        """Kill the primary, and measure the time until a backup has taken over."""
        self._wait_until_done(PRIMARY_DIES_AT)
        victim = self._cluster.primary()
        if victim is None:
            raise DemoFailed("there is no primary to kill")
        before = self._epoch()
        killed = self._kill(victim, f"the primary, {_name(victim)}")
        self._wait_for(lambda: self._epoch() != before, "a backup master takes over")
        took, heir = _milliseconds(killed), self._cluster.primary()
        if heir is None or heir is victim:
            raise DemoFailed("a backup master takes over after the primary was killed")
        self._story.tell(f"{_name(heir)} took over {took} after the kill")

    def kill_worker(self) -> None:
        """Kill the busiest worker, and measure the time until other workers have its tasks."""
        self._wait_until_done(WORKER_DIES_AT)
        status = self._cluster.status()
        busiest = max(status.workers, key=lambda worker: status.assigned.get(worker, 0))
        pid = status.workers[busiest].pid
        victim = next(worker for worker in self._cluster.workers if worker.pid == pid)
        killed = self._kill(victim, _name(victim))
        # The tasks of a dead worker stay in its folder until the primary recovers them.
        held = set(self._assigned_to(busiest))
        self._wait_for(
            lambda: held.isdisjoint(self._assigned_to(busiest)),
            "a dead worker's tasks are recovered",
        )
        self._story.tell(
            f"its {len(held)} tasks were recovered {_milliseconds(killed)} after the kill"
        )
        self._wait_for(
            self._run(held, status.workers.keys() - {busiest}),
            "the recovered tasks are assigned to other workers",
        )
        self._story.tell(
            f"all of them were assigned to other workers {_milliseconds(killed)} after the kill"
        )

    def finish(self, futures: Sequence[TaskFuture], expected: Sequence[bytes]) -> None:
        """Wait for the remaining tasks, and compare all results."""
        self._wait_until_done(1.0)
        right = _count_equal(futures, expected)
        self._story.tell(f"{right} of {len(futures)} results are correct")
        _check(right == len(futures), "every task returns the correct result")

    # --- observing --------------------------------------------------------------------------

    def _kill(self, process: Process, what: str) -> float:
        done = self._done()
        killed = time.monotonic()
        process.kill()
        self._story.tell(f"kill -9 {what}; {done} of {len(self._futures)} tasks are done")
        return killed

    def _done(self) -> int:
        return sum(future.done() for future in self._futures.values())

    def _run(self, tasks: Iterable[str], workers: Iterable[str]) -> Callable[[], bool]:
        """A condition: each of these tasks was assigned to one of these workers, or is done."""
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
                raise DemoFailed(f"not within {DEADLINE:g} s: {what}")
            if self._futures:
                self._story.progress(self._done(), len(self._futures))
            time.sleep(POLL_INTERVAL)


def play(story: Story, config: Path) -> None:
    """Run all steps. Raises DemoFailed, or MasterworkerError if something else fails."""
    story.tell(
        f"starting ZooKeeper, 2 masters and 3 workers with {SLOTS} slots each; session timeout "
        f"{SESSION_TIMEOUT:g} s"
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
        story.tell(f"ready at {cluster.hosts}; the primary is {primary and _name(primary)}")
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
        # Closing the client has completed its ledger.
        _audit(story, session, submitted)
        session.close()


def _audit(story: Story, session: Session, submitted: int) -> None:
    report = Auditor(session).report()
    story.tell(
        f"audit: {report.accepted} tasks accepted, {report.taken} taken, {report.lost} lost, "
        f"{report.recorded_twice} recorded twice"
    )
    _check(report.ok, f"the audit finds no problems: {'; '.join(report.findings)}")
    _check(
        report.accepted == report.taken == submitted, f"{submitted} tasks are accepted and taken"
    )


def _files() -> list[Path]:
    """The README, the docs and the sources; for an installed package, only the sources."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    found = [root / "README.md", *root.glob("docs/*.md"), *package.rglob("*.py")]
    return [file for file in found if file.is_file()]


def _digest(payload: bytes) -> bytes:
    """The output of `sha256sum`."""
    return f"{hashlib.sha256(payload).hexdigest()}  -\n".encode()


def _count_equal(futures: Sequence[TaskFuture], expected: Sequence[bytes]) -> int:
    """The number of finished tasks that have the expected result."""
    pairs = zip(futures, expected, strict=True)
    return sum(future.exception() is None and future.result() == want for future, want in pairs)


def _check(kept: bool, what: str) -> None:
    if not kept:
        raise DemoFailed(what)


def _milliseconds(since: float) -> str:
    return f"{(time.monotonic() - since) * 1000:,.0f} ms"


def _name(process: Process) -> str:
    return f"{process.name} (pid {process.pid})"


def main() -> int:
    """Run the demo. The exit code is 1 if it fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    try:
        with contextlib.closing(TemporaryFolder("masterworker-demo-")) as folder:
            config = folder.path / "demo.toml"
            config.write_text(CONFIG)
            play(story, config)
    except DemoFailed as failure:
        story.tell(f"FAILED: {failure}")
        return 1
    except MasterworkerError as error:
        story.tell(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        story.tell("interrupted")
        return 130
    story.tell("all checks passed; the cluster is stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
