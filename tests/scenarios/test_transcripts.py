"""The plan, case by case: tests/scenarios/*.txt show a tree, a line `----`, and what is planned.

    # What the case shows.
    worker ant: 4 slots, 2 processes; echo inline, command; draining
        holds 1 echo
    worker bee: book
    gone cat
        holds 2..4 echo lost 3
    task 5 command
    ----
    move     /assign/cat/2 -> /assign/ant/2  (lost 4 of 5)

`worker` is registered, `gone` is not and has left a folder. Without `processes` a worker may fill
all of its slots with them; after the executors may stand `draining` or `no folder`. `book` is a
worker of the ZooKeeper book's. A task is a name, or several as in `2..4`, then its executor, then
perhaps `raw`, and how often its worker was `lost` or it `failed`. Cases stand apart by blank lines.

After a change that is meant to alter plans, `MWCTL_REWRITE=1 pytest tests/scenarios` writes the new
ones into the files; read them in the diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from masterworker.decisions.life import Move
from masterworker.decisions.plan import Queue, Snapshot, plan, queue_of
from masterworker.words import book
from masterworker.words.limits import MAX_LOSSES
from masterworker.words.model import Attempt, Reason, Task, Worker, WorkerState

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))
NOW = 1_700_000_000.0

_TASK = re.compile(
    r"(?P<first>\S+?)(?:\.\.(?P<last>\d+))? (?P<executor>\S+)(?P<raw> raw)?"
    r"(?: lost (?P<lost>\d+))?(?: failed (?P<failed>\d+))?"
)
_SLOTS = re.compile(r"(?P<slots>\d+) slots?(?:, (?P<processes>\d+) process(?:es)?)?")


@dataclass
class Tree:
    """A snapshot while its lines are read."""

    workers: dict[str, Worker] = field(default_factory=dict)
    assigned: dict[str, dict[str, Task]] = field(default_factory=dict)
    pending: dict[Queue, list[Task]] = field(default_factory=dict)
    holder: str = ""

    def read(self, line: str) -> None:
        """Take in one line of the notation; raises ValueError for any other."""
        word, _, rest = line.strip().partition(" ")
        if word == "worker":
            self.holder, _, description = rest.partition(": ")
            parts = description.split("; ")
            self.workers[self.holder] = a_worker(parts)
            if "no folder" not in parts:
                self.assigned[self.holder] = {}
        elif word == "gone":
            self.holder = rest
            self.assigned[rest] = {}
        elif word == "holds":
            for group in rest.split(", "):
                self.assigned[self.holder].update((task.id, task) for task in some_tasks(group))
        elif word == "task":
            for task in some_tasks(rest):
                self.pending.setdefault(queue_of(task), []).append(task)
        else:
            raise ValueError(f"not in the notation: {line!r}")

    def snapshot(self) -> Snapshot:
        return Snapshot(self.workers, self.assigned, self.pending)


def a_worker(parts: list[str]) -> Worker:
    if parts[0] == "book":
        return book.worker_in(b"Idle")
    match = _SLOTS.fullmatch(parts[0])
    if match is None or set(parts[2:]) - {"draining", "no folder"}:
        raise ValueError(f"not a worker: {'; '.join(parts)}")
    offers = [part.partition(" ") for part in parts[1].split(", ")]
    if any(how not in ("", "inline") for _, _, how in offers):
        raise ValueError(f"not executors: {parts[1]}")
    slots = int(match["slots"])
    return Worker(
        executors={name: how == "inline" for name, _, how in offers},
        slots=slots,
        process_slots=int(match["processes"] or slots),
        state=WorkerState.DRAINING if "draining" in parts else WorkerState.READY,
    )


def some_tasks(group: str) -> Iterator[Task]:
    match = _TASK.fullmatch(group)
    if match is None:
        raise ValueError(f"not a task: {group!r}")
    history = [Attempt("before", Reason.LOST)] * int(match["lost"] or 0)
    history += [Attempt("before", Reason.FAILED)] * int(match["failed"] or 0)
    first, last = match["first"], match["last"]
    for name in [first] if last is None else range(int(first), int(last) + 1):
        yield Task(str(name), match["executor"], history=tuple(history), raw=bool(match["raw"]))


def render(moves: list[Move]) -> str:
    """A plan in the notation."""
    return "\n".join(map(render_move, moves)) or "nothing"


def render_move(move: Move) -> str:
    line = f"{move.event:8} {move.source} -> {move.target}"
    if not move.same_record:
        line += f"  (lost {move.task.losses} of {MAX_LOSSES})"
    if move.status is not None:
        line += f"  {move.status.state}: {move.status.reason}"
    return line


@dataclass(frozen=True)
class Case:
    """One case of a file: its comment, its tree and its plan, as they stand there."""

    comment: str
    tree: str
    expected: str

    def actual(self) -> str:
        tree = Tree()
        for line in self.tree.splitlines():
            tree.read(line)
        return render(plan(tree.snapshot(), NOW))

    def __str__(self) -> str:
        return f"{self.comment}\n{self.tree}\n----\n{self.actual()}"


def blocks(file: Path) -> list[str]:
    return re.split(r"\n{2,}", file.read_text(encoding="utf-8").strip("\n"))


def a_case(block: str) -> Case | None:
    """The case in a block of lines; None for a block of comments only."""
    comments = [line for line in block.splitlines() if line.startswith("#")]
    rest = "\n".join(line for line in block.splitlines() if not line.startswith("#"))
    if not rest:
        return None
    tree, line, expected = rest.partition("\n----\n")
    if not (comments and line):
        raise ValueError(f"a case needs a comment, a tree, a line `----` and a plan:\n{block}")
    return Case("\n".join(comments), tree, expected)


def all_cases() -> Iterator[object]:
    for file in FILES:
        for block in blocks(file):
            case = a_case(block)
            if case is not None:
                yield pytest.param(case, id=f"{file.stem}: {case.comment.splitlines()[0][2:]}")


def rewrite(file: Path) -> None:
    """Write the plans as they are now into the file."""
    written = [str(a_case(block) or block) for block in blocks(file)]
    file.write_text("\n\n".join(written) + "\n", encoding="utf-8")


if os.environ.get("MWCTL_REWRITE") == "1":
    for _file in FILES:
        rewrite(_file)


@pytest.mark.parametrize("case", list(all_cases()))
def test_the_plan_is_as_shown(case: Case) -> None:
    """The tree above the line leads to the plan below it."""
    assert case.actual() == case.expected


def test_there_are_transcripts() -> None:
    """The files were found: a test of no cases would prove nothing."""
    assert {file.stem for file in FILES} >= {"assignment", "recovery", "slots", "book", "draining"}
    assert len(list(all_cases())) >= 20


@pytest.mark.parametrize(
    "line",
    [
        "tusk 1 echo",
        "task 1",
        "task 1 echo rare",
        "worker a: many slots; echo",
        "worker a: 1 slot; echo outline",
    ],
)
def test_the_notation_is_strict(line: str) -> None:
    """A line with a slip of the pen is an error, not a silently smaller tree."""
    with pytest.raises(ValueError, match="not"):
        Tree().read(line)
