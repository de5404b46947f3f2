"""What a deep backlog costs the primary: `python -m tests.benchmarks.backlog`.

A million tasks that nobody can run are submitted to a master on a real ZooKeeper. Measured from
outside, by what the system says of the master's process:

1. its memory, when all of them wait;
2. its share of one processor while tasks go on trickling in, each of which tells it that the list
   of /tasks has changed: an upper bound for the share of its time that it spends on listing;
3. how soon tasks go to a worker that joins, and how fast.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from masterworker import Client
from masterworker.dev.processes import Process, masterworker_command
from masterworker.dev.server import ZooKeeperServer
from masterworker.words import paths
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import DEFAULT_TIMEOUT, Session

HEAP = 4 * 1024**3  # bytes of ZooKeeper's, which keeps every znode in memory
PER_CLIENT = 50_000  # tasks; the futures of a client that is closed cost nothing any more
EXECUTOR = "echo"
TRICKLE = 10.0  # tasks per second
POLL = 0.1  # seconds
PATIENCE = 60.0  # seconds; the session of whoever only looks on
MIB = 1024**2


@dataclass(frozen=True)
class Usage:
    """What a process has used so far: seconds of processor time, at a monotonic second; bytes."""

    processor: float
    at: float
    resident: int
    peak: int

    @classmethod
    def of(cls, process: Process) -> Usage:
        """Ask the system."""
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(stat[11]) + int(stat[12])  # utime, stime
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
        return cls(
            processor=ticks / os.sysconf("SC_CLK_TCK"),
            at=time.monotonic(),
            resident=int(sizes["VmRSS"]) * 1024,
            peak=int(sizes["VmHWM"]) * 1024,
        )

    def share_since(self, before: Usage) -> float:
        """The part of one processor used since then."""
        return (self.processor - before.processor) / (self.at - before.at)


def pending(session: Session) -> int:
    """How many tasks wait, without listing them."""
    folder = session.get(paths.TASKS)
    return 0 if folder is None else folder.children


def load(hosts: str, tasks: int) -> None:
    """Submit that many tasks, and wait until they are accepted."""
    for first in range(0, tasks, PER_CLIENT):
        with Client(hosts) as client:
            client.submit_many([b"x" * 100] * min(PER_CLIENT, tasks - first), executor=EXECUTOR)
            client.flush()


def trickle(hosts: str, seconds: float) -> int:
    """Submit a task now and then; return how many."""
    with Client(hosts) as client:
        until = time.monotonic() + seconds
        count = 0
        while time.monotonic() < until:
            client.submit(b"x", executor=EXECUTOR)
            client.flush()
            count += 1
            time.sleep(1 / TRICKLE)
    return count


def until(condition: str, holds: Iterator[bool]) -> float:
    """Return how many seconds it took until the condition held."""
    began = time.monotonic()
    for held in holds:
        if held:
            return time.monotonic() - began
        time.sleep(POLL)
    raise click.ClickException(f"never: {condition}")


def measure(tasks: int, seconds: float, session_timeout: float, folder: Path) -> Iterator[str]:
    """Run it all on a server of its own; yield the report line by line."""
    with ZooKeeperServer(heap=HEAP) as server:
        session = Session(server.hosts, timeout=PATIENCE)
        session.start()
        session.ensure_tree()
        where = ["--hosts", server.hosts, "--session-timeout", str(session_timeout)]
        master = Process("master", masterworker_command("master", *where), log=folder / "master")
        worker = Process(
            "worker",
            masterworker_command("worker", *where, "--executor", EXECUTOR),
            log=folder / "worker",
        )
        with master:
            in_office = (Inspection(session).status().primary is not None for _ in range(600))
            until("the master is in office", in_office)
            idle = Usage.of(master)
            load(server.hosts, tasks)
            loaded = Usage.of(master)
            took = loaded.at - idle.at
            yield f"{tasks:,} tasks accepted in {took:.0f} s, {tasks / took:,.0f}/s"
            yield f"  master meanwhile: {loaded.share_since(idle):.1%} of a processor"
            before = Usage.of(master)
            count = trickle(server.hosts, seconds)
            after = Usage.of(master)
            yield f"{count} more within {seconds:.0f} s, all {pending(session):,} pending"
            yield f"  master meanwhile: {after.share_since(before):.1%} of a processor"
            terms = Inspection(session).status().epoch
            yield f"  terms as primary so far: {terms}"
            yield (
                f"  master's memory: {after.resident / MIB:.0f} MiB, at most "
                f"{after.peak / MIB:.0f} MiB; with an empty queue {idle.resident / MIB:.0f} MiB"
            )
            waiting = pending(session)
            with worker:
                fewer = (pending(session) < waiting for _ in range(6000))
                yield f"first task taken {until('a task is taken', fewer):.1f} s after the worker"
                began, waiting = time.monotonic(), pending(session)
                time.sleep(seconds)
                rate = (waiting - pending(session)) / (time.monotonic() - began)
                yield f"then {rate:,.0f} tasks/s over {seconds:.0f} s"
                yield f"  master's memory at most {Usage.of(master).peak / MIB:.0f} MiB"
        session.close()


@click.command(context_settings={"show_default": True})
@click.option("--tasks", type=click.IntRange(min=1), default=1_000_000, help="Pending tasks.")
@click.option("--seconds", type=float, default=60.0, help="How long each phase is measured.")
@click.option("--session-timeout", type=float, default=DEFAULT_TIMEOUT, help="Of the master.")
def main(tasks: int, seconds: float, session_timeout: float) -> None:
    """Measure what a deep backlog costs the primary."""
    with tempfile.TemporaryDirectory(prefix="masterworker-backlog-") as folder:
        load_now = os.getloadavg()[0]
        click.echo(f"on {os.cpu_count()} processors, load {load_now:.1f} before")
        for line in measure(tasks, seconds, session_timeout, Path(folder)):
            click.echo(line)


if __name__ == "__main__":
    sys.exit(main())
