"""`make soak`: a long load on a cluster of our own. Exit code 1 if a resource grew."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from .judge import judge
from .report import conclude, text, write
from .run import Plan, Run, measured


@click.command(context_settings={"show_default": True})
@click.option(
    "--minutes", type=click.FloatRange(min=0.02), default=40.0, help="Length of the load."
)
@click.option("--tasks", type=click.IntRange(min=1), default=1_000_000, help="Tasks to run in it.")
@click.option("--ttl", type=float, default=30.0, help="Seconds that statuses and ledgers are kept.")
@click.option("--every", type=float, default=5.0, help="Seconds between two samples.")
@click.option("--masters", type=click.IntRange(min=1), default=2, help="Master processes.")
@click.option("--workers", type=click.IntRange(min=1), default=3, help="Worker processes.")
@click.option(
    "--run",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A new directory for everything that is written.",
)
def main(
    minutes: float,
    tasks: int,
    ttl: float,
    every: float,
    masters: int,
    workers: int,
    directory: Path,
) -> None:
    """Run the load, sample it, evaluate the samples, and write the report."""
    if directory.exists() and any(directory.iterdir()):
        raise click.BadParameter("it is not empty: name a new one", param_hint="--run")
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    seconds = minutes * 60
    plan = Plan(tasks, seconds, every, min(20.0, seconds), ttl, masters=masters, workers=workers)
    run = Run(plan, directory.resolve())
    audit = run.run(lambda line: click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True))
    figures = measured(run.samples)
    settings = {
        **asdict(plan),
        "began": began,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    report = conclude(settings, tasks, figures, judge(figures), audit)
    write(directory, report, figures)
    click.echo(text(report))
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
