"""How fast it is: `make bench`, or this file as a script.

It starts a cluster of its own with default settings and measures, all in one run and on a real
ZooKeeper with fsync:

1. one create after the other: what a ZooKeeper client that waits for each answer could do at best;
2. tasks end to end, from `submit_many` until every future has its result;
3. single tasks, each submitted when the one before it has its result.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from masterworker import Client
from masterworker.dev.cluster import Cluster
from masterworker.zookeeper.operations import Create
from masterworker.zookeeper.session import Session

CREATES = 300
SINGLES = 200
WARM_UP = 1_000  # tasks that are not measured: Java and every role's first steps
EXECUTOR = "echo"


@dataclass(frozen=True)
class Latency:
    """Of one thing done `count` times, one after the other. Milliseconds."""

    count: int
    median: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Throughput:
    """Tasks per second; and how many of them (by the median) end in the time of one create."""

    rounds: list[float]
    median: float
    creates: float


@dataclass(frozen=True)
class Report:
    """All that was measured, and on what."""

    machine: dict[str, object]
    settings: dict[str, int]
    create: Latency
    throughput: Throughput
    single: Latency


def timed(count: int, step: Callable[[int], object]) -> Latency:
    """Do something `count` times."""
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - began)
    return Latency(
        count=count,
        median=1000 * statistics.median(seconds),
        p99=1000 * statistics.quantiles(seconds, n=100)[98],
        longest=1000 * max(seconds),
    )


def creates(hosts: str) -> Latency:
    """Synchronous creates of 100 bytes, beside the cluster's own tree."""
    session = Session(f"{hosts}/benchmark")
    session.start()
    session.ensure_tree()
    data = os.urandom(100)
    try:
        return timed(CREATES, lambda number: session.commit([Create(f"/n{number}", data)]).wait())
    finally:
        session.close()


def tasks_per_second(client: Client, tasks: int, payload: int) -> float:
    """One round: every payload submitted, every result compared."""
    payloads = [number.to_bytes(8) + os.urandom(max(0, payload - 8)) for number in range(tasks)]
    began = time.perf_counter()
    futures = client.submit_many(payloads, executor=EXECUTOR)
    results = [future.result() for future in futures]
    took = time.perf_counter() - began
    if results != payloads:
        raise click.ClickException("a result is not its payload: no figure is worth anything")
    return tasks / took


def measure(tasks: int, workers: int, rounds: int, payload: int) -> Report:
    """Everything, on a cluster that is stopped again."""
    with (
        Cluster(workers=workers, executors=[EXECUTOR]) as cluster,
        Client(cluster.hosts) as client,
    ):
        tasks_per_second(client, WARM_UP, payload)
        create = creates(cluster.hosts)
        rates = [tasks_per_second(client, tasks, payload) for _ in range(rounds)]
        data = os.urandom(payload)
        single = timed(SINGLES, lambda _number: client.submit(data, executor=EXECUTOR).result())
    median = statistics.median(rates)
    return Report(
        machine={
            "processors": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        settings={"tasks": tasks, "workers": workers, "rounds": rounds, "payload": payload},
        create=create,
        throughput=Throughput(rates, median, median * create.median / 1000),
        single=single,
    )


def table(report: Report) -> str:
    """The report for people."""
    machine, settings, throughput = report.machine, report.settings, report.throughput
    what = f"{settings['tasks']:,} tasks of {settings['payload']} bytes"
    rows = [
        ["", "median", "p99", "longest"],
        ["one synchronous create", *_milliseconds(report.create)],
        ["one task, submit to result", *_milliseconds(report.single)],
        ["", "", "", ""],
        ["", "median", "", "tasks per create"],
        [what, _rate(throughput.median), "", f"{throughput.creates:.1f}"],
        *(
            [f"    round {number}", _rate(rate), "", ""]
            for number, rate in enumerate(throughput.rounds, start=1)
        ),
    ]
    lines = [f"{row[0]:32}{row[1]:>14}{row[2]:>12}{row[3]:>18}".rstrip() for row in rows]
    where = (
        f"1 master, {settings['workers']} workers and 1 ZooKeeper on {machine['processors']} "
        f"processors (load {machine['load']:.1f}), Python {machine['python']}"
    )
    return "\n".join([where, *lines])


def _milliseconds(latency: Latency) -> list[str]:
    return [f"{value:.2f} ms" for value in (latency.median, latency.p99, latency.longest)]


def _rate(tasks: float) -> str:
    return f"{tasks:,.0f}/s"


@click.command(context_settings={"show_default": True})
@click.option("--tasks", type=click.IntRange(min=1), default=20_000, help="Tasks in a round.")
@click.option("--workers", type=click.IntRange(min=1), default=2, help="Worker processes.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="Rounds of tasks.")
@click.option("--payload", type=click.IntRange(8, 900_000), default=100, help="Bytes of a task.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the figures as JSON.",
)
def main(tasks: int, workers: int, rounds: int, payload: int, output: Path | None) -> None:
    """Measure creates, throughput and latency on a cluster of our own."""
    report = measure(tasks, workers, rounds, payload)
    click.echo(table(report))
    if output is not None:
        output.write_text(json.dumps(asdict(report), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
