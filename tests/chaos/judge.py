"""The analysis of a run: checks the committed history and the journals against every promise."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from masterworker.words.errors import Unavailable
from masterworker.zookeeper.session import CONNECT_TIMEOUT
from tests.chaos import answers, conservation, executions, history, journals, recovery
from tests.chaos.conservation import Conservation
from tests.chaos.counts import Books, Slots
from tests.chaos.fencing import Fencing
from tests.chaos.history import Transaction
from tests.chaos.journals import End, Execution, Journals
from tests.chaos.reach import Reach
from tests.chaos.story import Story
from tests.chaos.verdict import Finding, Findings, Promise, Verdict

ORDERLY = (0, 143, 130, -15)
"""Exit codes of a process that was asked to end."""


def judge_run(run: Path) -> Verdict:
    """Analyse the run in this directory. Raises history.Unjudgeable if its evidence is unusable."""
    servers = sorted(path for path in (run / "zookeeper").iterdir() if path.is_dir())
    said = journals.read(run)
    found = history.read(servers, said.settings.chroot)
    return judge(found, said, left_out=len(found.left_out))


def judge(transactions: Iterable[Transaction], said: Journals, *, left_out: int = 0) -> Verdict:
    """Analyse a history and its journals; `left_out` is only reported."""
    findings = Findings()
    story = Story()
    count = _follow(transactions, story, findings)
    conservation.at_the_end(story.lives.values(), findings)
    answers.judge(story.lives, said.submissions, said.handed, said.ends, findings)
    tasks = executions.by_task(said.executions)
    reach = Reach(said.faults, said.settings, said.stalls)
    excused = executions.overlaps(tasks, lambda run: _is_inline(story, run), findings)
    explained = executions.explain(tasks, story, reach, findings)
    _unplanned(said, reach, findings)
    lives = story.lives.values()
    return Verdict(
        settings=said.settings,
        findings=findings,
        numbers={
            "transactions": count,
            "transactions left out": left_out,
            "tasks submitted": len(said.submissions),
            "tasks accepted": sum(life.accepted is not None for life in lives),
            "tasks done": sum(life.state == "done" for life in lives),
            "tasks failed": sum(life.state == "failed" for life in lives),
            "results handed over": len(said.handed),
            "executions": len(said.executions),
            "extra executions": len(said.executions) - len(tasks),
            "inline overlaps (not promised)": excused,
            "faults carried out": len(reach.faults),
            "faults skipped": len(said.faults) - len(reach.faults),
            "stalls of the machine": len(said.stalls),
            "terms as primary": len(story.terms),
            "worker incarnations": len(story.incarnations),
        },
        explained=explained,
        faults=reach.faults,
        recoveries=recovery.measure(story, tasks, reach, said.settings),
        processes=said.processes,
        terms=story.terms,
        incarnations=list(story.incarnations.values()),
        finished=sorted(step.at for life in lives for step in life.statuses),
    )


def _follow(transactions: Iterable[Transaction], story: Story, findings: Findings) -> int:
    """Check every transaction against what must be true at each moment; return their number."""
    conserved = Conservation(findings)
    fencing = Fencing(story, findings)
    slots = Slots(story, findings)
    books = Books(findings)
    count = 0
    for transaction in transactions:
        count += 1
        changes = story.follow(transaction)
        conserved.see(changes)
        fencing.see(transaction, changes)
        slots.see(transaction, changes)
        books.see(transaction, changes)
    return count


def _is_inline(story: Story, run: Execution) -> bool:
    worker = story.workers.get(run.worker)
    life = story.lives.get(run.task)
    return worker is not None and life is not None and worker.executors.get(life.executor, False)


def _unplanned(said: Journals, reach: Reach, findings: Findings) -> None:
    """Processes that ended without being asked to."""
    for end in said.ends:
        if end.at < said.settings.settled and not _is_planned(end, reach):
            findings.add(
                Finding(
                    Promise.ENDED,
                    f"{end.name} (pid {end.pid}) exited on its own with exit code {end.exit_code}",
                    at=end.at,
                )
            )


def _is_planned(end: End, reach: Reach) -> bool:
    if end.exit_code == Unavailable.exit_code:  # no ZooKeeper answered when it was started
        return reach.touching(end.name, end.at - CONNECT_TIMEOUT, end.at) is not None
    return end.why is not None or end.exit_code in ORDERLY
