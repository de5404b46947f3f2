"""Reads the journals that the processes of a run wrote outside ZooKeeper.

A line is on disk before its writer continues. The last line of a process that was killed can be
truncated; it is left out, since what it announced had not happened yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import stalls


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run. Wall-clock seconds, and durations in seconds.

    `delta` is the time that a recovery may take beyond the session timeout and the server's tick.
    """

    seed: int = 0
    chroot: str = ""
    minutes: float = 0.0
    session_timeout: float = 3.0
    tick: float = 0.375
    delta: float = 1.0
    masters: int = 0
    workers: int = 0
    clients: int = 0
    began: float = 0.0
    load_ended: float = 0.0
    settled: float = 0.0
    stopped: float = 0.0

    @property
    def bound(self) -> float:
        """Seconds within which a recovery is expected."""
        return self.session_timeout + self.tick + self.delta

    @property
    def reach(self) -> float:
        """Seconds after its end in which a fault can still have effects: a session may end."""
        return self.session_timeout + self.tick


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was carried out, or `skipped` for a reason. Wall-clock seconds."""

    number: int
    kind: str
    target: str
    began: float
    ended: float
    pid: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None


def stall(began: float, ended: float) -> Fault:
    """A time at which the whole machine stalled: it counts as a fault of every process."""
    return Fault(0, "stall", "machine", began, ended)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a process. `why` names the fault or restart that caused it, if any."""

    at: float
    name: str
    role: str
    pid: int
    exit_code: int | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """A client was about to submit a task with this token."""

    at: float
    token: str
    executor: str
    journal: str


@dataclass(frozen=True, slots=True)
class Handed:
    """A client received a task's outcome: `succeeded` or `failed`."""

    at: float
    token: str
    task: str
    outcome: str
    reason: str | None
    value: str | None
    journal: str


@dataclass(slots=True)
class Execution:
    """One run of an executor. `seen` is its last sign of life; `end` is None if it never returned.

    `worker` is the incarnation's id, `process` the name of the worker's process.
    """

    task: str
    attempt: int
    worker: str
    process: str
    start: float
    seen: float
    token: str = ""
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Journals:
    """All journals of one run; `processes` has the name of each process by its pid."""

    settings: Settings = field(default_factory=Settings)
    faults: list[Fault] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    stalls: list[Fault] = field(default_factory=list)


def read(run: Path) -> Journals:
    """Read the journals of the run in this directory."""
    submissions: list[Submission] = []
    handed: list[Handed] = []
    for file in sorted((run / "clients").glob("*.jsonl")):
        _read_client(file, submissions, handed)
    processes = list(_lines(run / "processes.jsonl"))
    return Journals(
        settings=_settings(run / "settings.json"),
        faults=[_known(Fault, line) for line in _lines(run / "faults.jsonl")],
        processes={line["pid"]: line["name"] for line in processes},
        ends=[_known(End, line) for line in processes if line["event"] == "ended"],
        submissions=submissions,
        handed=handed,
        executions=executions(run),
        stalls=[stall(line["began"], line["ended"]) for line in _lines(run / stalls.FILE)],
    )


def executions(run: Path) -> list[Execution]:
    """The executors' journals of the run in this directory, so far."""
    return [
        execution
        for file in sorted((run / "executions").glob("*.jsonl"))
        for execution in _executions(file.stem.rpartition("-")[0], _lines(file))
    ]


def _settings(file: Path) -> Settings:
    settings: Settings = _known(Settings, json.loads(file.read_text()))
    return settings


def _read_client(file: Path, submissions: list[Submission], handed: list[Handed]) -> None:
    for line in _lines(file):
        line["journal"] = file.stem
        if line["event"] == "submitting":
            submissions.append(_known(Submission, line))
        elif line["event"] == "result":
            handed.append(_known(Handed, line))


def _executions(process: str, lines: Iterable[Mapping[str, Any]]) -> Iterator[Execution]:
    """The executions in one process's journal; a tick or an end belongs to the last such start."""
    running: dict[tuple[str, int], Execution] = {}
    for line in lines:
        key = line["task"], line["attempt"]
        at = line["at"]
        if line["event"] == "start":
            worker, token = line["worker"], line.get("token", "")
            running[key] = Execution(*key, worker, process, at, at, token)
            yield running[key]
        else:
            running[key].seen = at
            if line["event"] == "end":
                running[key].end = at


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal, without the last one if it is truncated."""
    if not file.exists():
        return
    with file.open() as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)


def _known(kind: Any, fields: Mapping[str, Any]) -> Any:
    """A dataclass from those of the fields that it has."""
    return kind(**{name: fields[name] for name in kind.__dataclass_fields__ if name in fields})
