"""Compares what clients were told with what they submitted and with what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from masterworker.words.model import Reason, State
from tests.chaos.journals import End, Handed, Submission
from tests.chaos.story import Life
from tests.chaos.verdict import Finding, Findings, Promise

_REASONS: Final = frozenset(reason.value for reason in Reason)


def judge(
    lives: Mapping[str, Life],
    submissions: Sequence[Submission],
    handed: Sequence[Handed],
    ends: Iterable[End],
    findings: Findings,
) -> None:
    """Check every recorded result and every one delivered, and that none is missing."""
    for life in lives.values():
        if life.state == State.DONE and life.result != result_of(life.token).encode():
            _report(findings, Promise.WRONG_VALUE, life.task, f"recorded {life.result!r:.100}")
    told: dict[str, Handed] = {}
    for one in handed:
        first = told.setdefault(one.task, one)
        if (first.outcome, first.value) != (one.outcome, one.value):
            what = f"was handed over as {first.value!r:.100} and as {one.value!r:.100}"
            _report(findings, Promise.RECORDED_TWICE, one.task, what, one.at)
        _judge_one(lives.get(one.task), one, findings)
    _require_answers(submissions, handed, ends, findings)


def result_of(token: str) -> str:
    """The return value of the campaign's executors."""
    return f"done:{token}"


def _judge_one(life: Life | None, one: Handed, findings: Findings) -> None:
    if one.outcome == "failed" and one.reason not in _REASONS:
        what = f"was answered with no status but an error: {one.reason}"
        _report(findings, Promise.UNANSWERED, one.task, what, one.at)
    elif life is None or life.accepted is None:
        what = f"was handed over ({one.outcome}, token {one.token}) and had never been accepted"
        _report(findings, Promise.NEVER_ACCEPTED, one.task, what, one.at)
    elif life.token != one.token:
        what = f"has token {life.token} and was handed over for {one.token}"
        _report(findings, Promise.WRONG_VALUE, one.task, what, one.at)
    elif not _tells(one, life):
        what = f"was handed over as {one.value!r:.100}; its state is {life.state or 'none'}"
        _report(findings, Promise.WRONG_VALUE, one.task, what, one.at)


def _tells(one: Handed, life: Life) -> bool:
    """Whether a client was told the recorded result, or that it expired unread."""
    if one.outcome == "succeeded":
        return life.state == State.DONE and one.value == result_of(one.token)
    return life.state == State.FAILED or one.reason == Reason.EXPIRED


def _require_answers(
    submissions: Sequence[Submission],
    handed: Sequence[Handed],
    ends: Iterable[End],
    findings: Findings,
) -> None:
    """A client that ended in order must have an answer to each submission."""
    in_order = {f"{end.name}-{end.pid}" for end in ends if end.exit_code == 0}
    answered = {one.token for one in handed}
    for submission in submissions:
        if submission.journal in in_order and submission.token not in answered:
            findings.add(
                Finding(
                    Promise.UNANSWERED,
                    f"{submission.journal} submitted token {submission.token} and ended in order "
                    "without an answer",
                    at=submission.at,
                )
            )


def _report(
    findings: Findings, promise: Promise, task: str, what: str, at: float | None = None
) -> None:
    findings.add(Finding(promise, f"task {task} {what}", task, at=at))
