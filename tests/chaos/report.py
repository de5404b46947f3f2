"""The report of a run: its faults, the promises broken, and the recovery times.

`report.json` is for programs, `report.md` for people, and `timeline.svg` shows the run.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos import picture
from tests.chaos.verdict import Promise, Recovery, Verdict

SHOWN: Final = 20
"""Maximum number of findings in the page for people; the file for programs has more."""

RECOVERIES: Final = ("reassigned", "started elsewhere", "next epoch")


@dataclass(frozen=True, slots=True)
class Spread:
    """A summary of durations, in seconds; `late` is how many exceeded the bound."""

    count: int
    median: float
    p99: float
    most: float
    late: int


def spread(seconds: Sequence[float], bound: float) -> Spread | None:
    """The summary of these durations; None if there are none."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    return Spread(
        count=len(ranked),
        median=round(statistics.median(ranked), 3),
        p99=round(ranked[math.ceil(0.99 * len(ranked)) - 1], 3),
        most=round(ranked[-1], 3),
        late=sum(value > bound for value in ranked),
    )


def write(run: Path, verdict: Verdict) -> None:
    """Write the three files into the run's directory."""
    (run / "report.json").write_text(json.dumps(as_data(verdict), indent=1) + "\n")
    (run / "report.md").write_text("\n".join(_page(verdict)) + "\n")
    (run / "timeline.svg").write_text(picture.draw(verdict))


def as_data(verdict: Verdict) -> dict[str, Any]:
    """The result in the form of the JSON report."""
    bound = verdict.settings.bound
    return {
        "ok": verdict.ok,
        "settings": asdict(verdict.settings),
        "numbers": dict(verdict.numbers),
        "broken": {promise.value: verdict.findings.counts[promise] for promise in Promise},
        "findings": [asdict(finding) for finding in verdict.findings.kept],
        "explained": dict(verdict.explained),
        "faults": dict(Counter(fault.kind for fault in verdict.faults)),
        "bound": bound,
        "recoveries": {
            f"{what}, {'undisturbed' if undisturbed else 'disturbed'}": asdict(found)
            for what, undisturbed, found in _spreads(verdict.recoveries, bound)
        },
    }


def _spreads(recoveries: Sequence[Recovery], bound: float) -> Iterator[tuple[str, bool, Spread]]:
    for what in RECOVERIES:
        for undisturbed in (True, False):
            seconds = [
                one.seconds
                for one in recoveries
                if one.what == what and one.undisturbed is undisturbed
            ]
            found = spread(seconds, bound)
            if found is not None:
                yield what, undisturbed, found


# --- for people ------------------------------------------------------------------------------


def _page(verdict: Verdict) -> Iterator[str]:
    settings = verdict.settings
    yield f"# Fault campaign, seed {settings.seed}: {'ok' if verdict.ok else 'BROKEN'}"
    yield ""
    yield (
        f"{settings.minutes:g} minutes, {settings.masters} masters, {settings.workers} workers, "
        f"{settings.clients} clients, session timeout {settings.session_timeout:g} s, tick "
        f"{settings.tick:g} s."
    )
    yield from _table("Promises", ("promise", "breaches"), _promises(verdict))
    yield from _findings(verdict)
    yield from _table("Numbers", ("what", "count"), list(verdict.numbers.items()))
    kinds = Counter(fault.kind for fault in verdict.faults)
    yield from _table("Faults", ("kind", "carried out"), sorted(kinds.items()))
    yield from _table(
        "Extra executions by cause", ("cause", "count"), sorted(verdict.explained.items())
    )
    yield from _table(
        f"Recovery, in seconds from the kill; {settings.bound:g} s are expected "
        f"(T {settings.session_timeout:g} + tick {settings.tick:g} + {settings.delta:g})",
        ("what", "other faults near", "count", "median", "p99", "most", "late"),
        [
            (what, "no" if alone else "yes", one.count, one.median, one.p99, one.most, one.late)
            for what, alone, one in _spreads(verdict.recoveries, settings.bound)
        ],
    )
    yield ""
    yield "![What happened when](timeline.svg)"


def _promises(verdict: Verdict) -> list[tuple[object, ...]]:
    return [(promise.value, verdict.findings.counts[promise]) for promise in Promise]


def _findings(verdict: Verdict) -> Iterator[str]:
    if verdict.ok:
        return
    yield ""
    yield "## Findings"
    yield ""
    kept = verdict.findings.kept
    for finding in kept[:SHOWN]:
        where = "" if finding.zxid is None else f" (zxid {finding.zxid:#x})"
        when = "" if finding.at is None else f" at {finding.at - verdict.settings.began:.3f} s"
        yield f"- **{finding.promise}**{when}{where}: {finding.what}"
    total = verdict.findings.counts.total()
    if total > SHOWN:
        yield f"- and {total - SHOWN} more; `report.json` has {len(kept)} of all"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    if not rows:
        yield "None."
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
