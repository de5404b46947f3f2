"""The evidence of an attempt begins with the one line that says why it has no result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions import explain
from masterworker.words import evidence, limits
from masterworker.words.model import Attempt, Reason, State, Status


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("never")


def _plain() -> None:
    raise ValueError("no such thing")


def _lines() -> None:
    raise ValueError("no such thing:\n    ^^^^^\n  INFO root: loaded\n")


def _chained() -> None:
    try:
        _plain()
    except ValueError as error:
        raise KeyError("id") from error


def _noted() -> None:
    error = ValueError("no such thing")
    error.add_note("seen on a Monday\n  ^^^^^")
    raise error


def _group() -> None:
    inner = ExceptionGroup("inner", [KeyError("id"), OSError("gone"), OSError("full")])
    raise ExceptionGroup("several", [ValueError("no such\nthing"), inner])


def _syntax() -> None:
    compile("x = (1,\ny = 2", "task.py", "exec")


def _silent() -> None:
    raise TimeoutError


def _mute() -> None:
    raise Mute


def _exit() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("fail", "line"),
    [
        (_plain, "ValueError: no such thing"),
        (_lines, "ValueError: no such thing: ^^^^^ INFO root: loaded"),
        (_chained, "KeyError: 'id'"),
        (_noted, "ValueError: no such thing"),
        (
            _group,
            "ExceptionGroup: several (2 sub-exceptions): ValueError: no such thing; "  # noqa: ISC004
            "KeyError: 'id'; OSError: gone; ...",
        ),
        (_syntax, "SyntaxError: '(' was never closed (task.py, line 1)"),
        (_silent, "TimeoutError"),
        (_mute, f"{__name__}.Mute: <exception str() failed>"),
        (_exit, "SystemExit: 3"),
    ],
)
def test_the_first_line_is_the_exceptions_own(fail: Callable[[], None], line: str) -> None:
    """Whatever a traceback ends with, the class and the message come first, in one line."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - each case has its own
        fail()
    found = evidence.of_exception(caught.value, caught.value.__traceback__)
    assert evidence.point(found) == line
    assert "Traceback (most recent call last):" in found
    assert fail.__name__ in found


def test_a_traceback_does_not_repeat_the_first_line() -> None:
    """What is said at the top is not said again at the end, unless it looks different there."""
    with pytest.raises(ValueError, match="thing") as caught:
        _plain()
    found = evidence.of_exception(caught.value, caught.value.__traceback__)
    assert found.count("ValueError: no such thing") == 1


def test_a_long_message_is_cut_and_its_end_is_kept() -> None:
    """The first line stays short; behind it there is still the end of the message."""
    found = evidence.of_exception(ValueError("é" * 5_000 + "the end"), None)
    assert evidence.point(found).endswith("…")
    assert len(evidence.point(found).encode()) <= evidence.MAX_POINT
    assert found.endswith("the end")
    assert len(found.encode()) <= limits.MAX_DETAIL


@given(st.text(), st.text(), st.integers(0, 50))
def test_evidence_is_bounded(why: str, rest: str, times: int) -> None:
    """It is Unicode text of a bounded size that begins with one line and ends as it should."""
    found = evidence.evidence(why * times, rest * times * 20)
    assert len(found.encode()) <= limits.MAX_DETAIL
    assert evidence.bounded(found) == found
    whole = f"{why}\n{rest * times * 20}"
    cut = evidence.bounded(whole)
    assert len(cut.encode()) <= limits.MAX_DETAIL
    if len(whole.encode(errors="replace")) <= limits.MAX_DETAIL:
        assert cut == whole.encode(errors="replace").decode()


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        (
            evidence.evidence("no result within its time limit of 20 s", "INFO root: at work"),
            "timed out on worker w: no result within its time limit of 20 s",
        ),
        ("exit code 3\nlast words\n  ^^^^^", "timed out on worker w: exit code 3"),
        ("", "timed out on worker w"),
    ],
)
def test_why_is_the_first_line(detail: str, why: str) -> None:
    """`why` never quotes what the task printed."""
    attempt = Attempt("w", Reason.TIMED_OUT, detail)
    status = Status(State.FAILED, "x", "w", reason=Reason.TIMED_OUT, history=(attempt,))
    assert explain.finished(status) == why
