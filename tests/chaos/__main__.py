"""`python -m tests.chaos --minutes M --seed N`: run a campaign and analyse it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Final

from tests.chaos import judge, report
from tests.chaos.campaign import Campaign, Progress

RATE: Final = 120.0
"""Tasks a second; 100,000 in twenty minutes need 83."""

TOLD_EVERY: Final = 1.0  # seconds


class Teller:
    """Shows the progress in one line, on a terminal."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if sys.stderr.isatty() and time.monotonic() >= self._next:
            self._next = time.monotonic() + TOLD_EVERY
            print(f"\r\x1b[K{line(progress)}", end="", file=sys.stderr, flush=True)  # noqa: T201

    def end(self) -> None:
        """Move to a new line."""
        if sys.stderr.isatty():
            print(file=sys.stderr)  # noqa: T201


def line(progress: Progress) -> str:
    """The progress as text."""
    return (
        f"{progress.phase}: {_clock(progress.elapsed)} of {_clock(progress.seconds)}, "
        f"{progress.carried_out} of {progress.planned} faults, {progress.skipped} skipped"
    )


def say(text: str) -> None:
    """Print a message."""
    print(text, file=sys.stderr)  # noqa: T201


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02}"


def main() -> int:
    """Run one campaign; return 0 if every promise was kept, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load and faults")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and the load")
    parser.add_argument("--rate", type=float, default=RATE, help="tasks a second")
    parser.add_argument("--run", type=Path, help="directory [default: build/chaos/seed-SEED]")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # connections are meant to break
    run = (options.run or Path("build/chaos") / f"seed-{options.seed}").resolve()
    teller = Teller()
    settings = Campaign(run, options.seed, options.minutes, options.rate, teller).carry_out()
    teller.end()
    if settings["unsettled"]:
        say("not every accepted task had its status in time")
    if settings["diverged"]:
        others = ", ".join(settings["diverged"])
        say(f"ZooKeeper's own servers disagree: {others} with the leader")
    verdict = judge.judge_run(run)
    report.write(run, verdict)
    print(f"{'every promise was kept' if verdict.ok else 'a promise was broken'}: {run}/report.md")  # noqa: T201
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
