"""The result of a run: report.json for programs, report.md for people, and its charts."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from masterworker.decisions.audit import AuditReport

from .judge import MIB, Finding, Measured
from .plots import chart

CHARTS: Final = (
    ("memory", "Memory of masters, workers and clients", "MiB RSS", "*.rss", MIB),
    ("jvm", "Memory of ZooKeeper", "MiB", "zookeeper-jvm.[rh]e*", MIB),
    ("descriptors", "Open descriptors", "count", "*.descriptors", 1),
    ("threads", "Threads", "count", "*.threads", 1),
    ("znodes", "znodes", "count", "zookeeper.znodes", 1),
    ("watches", "Watches, ephemerals, connections", "count", "zookeeper.[wec]*", 1),
    ("cpu", "CPU per 1,000 tasks", "s", "*.cpu-per-1000-tasks", 1),
    ("latency", "Submit to result, 5 s windows", "ms", "tasks.p*", 0.001),
    ("outstanding", "Tasks submitted and not done", "count", "tasks.outstanding", 1),
)
BYTES: Final = ("rss", "pss", "heap", "resident", "data", "childrens-memory")


@dataclass(frozen=True)
class Report:
    """All results. `settings` are the parameters and the environment of the run."""

    ok: bool
    settings: Mapping[str, object]
    tasks: Mapping[str, float]
    audit: Mapping[str, object]
    findings: Sequence[Finding]


def conclude(
    settings: Mapping[str, object],
    wanted: int,
    figures: Sequence[Measured],
    findings: Sequence[Finding],
    audit: AuditReport,
) -> Report:
    """The run is good if every bound is kept, every task ended, and the audit found no loss."""
    by_name = {figure.name: figure for figure in figures}
    tasks = {
        name.removeprefix("tasks."): figure.load[-1][1]
        for name, figure in by_name.items()
        if name.startswith("tasks.") and figure.load
    }
    all_done = tasks.get("done", 0) >= wanted and tasks.get("outstanding") == 0
    return Report(
        ok=all_done and audit.ok and all(finding.ok for finding in findings),
        settings=settings,
        tasks=tasks,
        audit={"ok": audit.ok, **asdict(audit)},
        findings=findings,
    )


def write(directory: Path, report: Report, figures: Sequence[Measured]) -> None:
    """All files of a report."""
    (directory / "report.json").write_text(json.dumps(_plain(report), indent=2) + "\n")
    for name, title, unit, pattern, scale in CHARTS:
        series = {
            figure.name.removesuffix(".rss").removesuffix(".cpu-per-1000-tasks"): [
                (at, value / scale) for at, value in figure.load
            ]
            for figure in figures
            if figure.load and fnmatch.fnmatch(figure.name, pattern)
        }
        (directory / f"{name}.svg").write_text(chart(title, unit, series))
    (directory / "report.md").write_text(text(report))


def text(report: Report) -> str:
    """The report for people."""
    lines = [
        f"# Soak run: {'passed' if report.ok else 'FAILED'}",
        "",
        *(f"- {key}: {value}" for key, value in report.settings.items()),
        *(
            f"- tasks {key}: {value:,.3f}".removesuffix(".000")
            for key, value in report.tasks.items()
        ),
        f"- audit: {report.audit}",
        "",
        "The checks are explained in `tests/soak/judge.py`.",
        "",
        "| Figure | Check | Measured | Bound | |",
        "|---|---|---:|---:|---|",
        *(
            f"| {each.figure} | {each.check} | {_amount(each.figure, each.measured)} "
            f"| {_amount(each.figure, each.bound)} | {'ok' if each.ok else '**too much**'} |"
            for each in sorted(report.findings, key=lambda each: each.ok)
        ),
        "",
        *(f"![{title}]({name}.svg)" for name, title, *_ in CHARTS),
        "",
    ]
    return "\n".join(lines)


def _plain(report: Report) -> dict[str, object]:
    findings = [{**asdict(each), "ok": each.ok} for each in report.findings]
    return {**asdict(report), "findings": findings}


def _amount(figure: str, value: float) -> str:
    if figure.rpartition(".")[2] in BYTES:
        return f"{value / MIB:,.2f} MiB"
    return f"{value:,.3f}".rstrip("0").rstrip(".")
