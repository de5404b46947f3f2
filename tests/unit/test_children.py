"""Attempts in child processes: what comes back, and what executors can do there to no avail."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from masterworker.execution import frames
from masterworker.execution.attempts import Outcome
from masterworker.execution.output import MOST_LINES
from masterworker.execution.sandbox import Sandbox
from masterworker.execution.slots import ProcessRunner
from masterworker.words.limits import MAX_DETAIL, MAX_PAYLOAD
from masterworker.words.model import Reason
from tests.unit.attempts_support import Outcomes, is_alive, job
from tests.waiting import eventually

Attempt = Callable[..., Outcome]
Start = Callable[..., ProcessRunner]


def test_payloads_of_every_size_come_back(attempt: Attempt) -> None:
    """Payloads beyond a pipe's capacity, up to the limit, pass through whole, both ways."""
    for payload in (b"", b"hello", os.urandom(300_000), os.urandom(MAX_PAYLOAD)):
        outcome = attempt("echo", payload)
        assert (outcome.result, outcome.reason) == (payload, None)
        assert time.time() - 60 < outcome.started <= outcome.ended <= time.time()


def test_failures_are_told_apart_and_leave_the_child_alive(attempt: Attempt) -> None:
    """Exceptions, SystemExit, MemoryError and bad results fail the attempt, not the process."""
    child = attempt("pid").result
    outcome = attempt("fail", "luck")
    assert outcome.reason is Reason.FAILED
    assert outcome.detail.startswith("ValueError: no luck\n")
    assert attempt("leave").detail.startswith("SystemExit: out of here\n")
    assert attempt("out_of_memory").reason is Reason.OUT_OF_MEMORY
    assert "returned str, expected bytes" in attempt("text").detail
    assert "900,001 bytes" in attempt("too_much").detail
    assert attempt("pid").result == child


def test_a_child_that_exits_is_a_crash_with_its_last_words(attempt: Attempt) -> None:
    """The exit code and the end of stderr are the evidence, and the slot lives on."""
    outcome = attempt("exit", "3")
    assert (outcome.reason, outcome.interrupted) == (Reason.CRASHED, False)
    assert outcome.detail == "exit code 3\nlast words"
    assert attempt("echo", "next").result == b"next"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_child_killed_by_a_signal_is_a_crash_that_names_it(
    attempt: Attempt, number: signal.Signals
) -> None:
    """A segmentation fault shows where it happened; SIGKILL leaves only its name."""
    outcome = attempt("kill_self", str(int(number)))
    assert (outcome.reason, outcome.interrupted) == (Reason.CRASHED, False)
    assert outcome.detail.startswith(f"killed by {number.name}")
    assert ("in kill_self" in outcome.detail) == (number is signal.SIGSEGV)
    assert len(outcome.detail.encode()) <= MAX_DETAIL


def test_a_hang_that_holds_the_gil_ends_at_the_time_limit(attempt: Attempt) -> None:
    """C code that never returns is killed on time, and the next attempt finds a fresh child."""
    attempt("echo")
    began = time.monotonic()
    outcome = attempt("hang_in_c")
    assert 0.5 <= time.monotonic() - began < 30
    assert outcome.reason is Reason.TIMED_OUT
    assert "time limit of 0.5 s" in outcome.detail
    assert attempt("echo", "next").result == b"next"


def test_a_child_sees_nothing_of_its_worker(
    start: Start, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No MWCTL_ variable, no inherited descriptor, no kazoo; what the operator lists, it sees."""
    monkeypatch.setenv("MWCTL_AUTH", "digest:secret")
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.setenv("PYTHON_KEYRING_PASSWORD", "hidden")
    monkeypatch.setenv("NAMED", "by the operator")
    monkeypatch.setenv("SOMETHING_ELSE", "hidden")
    with (tmp_path / "open").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        runner = start(
            sandbox=Sandbox(pass_env=["NAMED"]),
            configs={"look": {"path": "/x", "depth": {"n": 1}}},
        )
        one = job("look")
        runner.start([one])
        seen = json.loads(outcomes.of(one).result or b"")
    environment = seen["environment"]
    assert not [name for name in environment if name.startswith("MWCTL_")]
    assert (environment["NAMED"], environment["PYTHONUTF8"]) == ("by the operator", "1")
    assert not {"SOMETHING_ELSE", "PYTHON_KEYRING_PASSWORD"} & environment.keys()
    assert seen["descriptors"]["0"] == "/dev/null"
    assert seen["descriptors"]["1"] == seen["descriptors"]["2"]
    beyond = [target for fd, target in seen["descriptors"].items() if int(fd) > 2]
    assert len(beyond) == 2, beyond  # one pipe in each direction
    assert all(target.startswith("pipe:") for target in beyond)
    assert seen["inheritable"] == []
    assert not {"kazoo", "click"} & set(seen["modules"])
    assert seen["ours"]
    config = {"checked": {"path": "/x", "depth": {"n": 1}}}
    assert seen["context"] == [one.task.id, "look", "w1", 2, 3.5, {"key": "value"}, config]


def test_prints_go_to_the_log_and_corrupt_nothing(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is printed, however much, results stay whole and each line is logged, cut short."""
    with caplog.at_level(logging.INFO, "masterworker.execution.output"):
        for _ in range(3):
            assert attempt("noisy", "result").result == b"result"
        eventually(lambda: caplog.text.count("from a command") == 3)
    assert "noisy task-" in caplog.text
    assert "raw to 1" in caplog.text
    assert "raw to 2" in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 1_100


def test_what_a_child_logs_keeps_its_level(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning is a warning in the worker's log, on each of its lines; a print is information."""
    with caplog.at_level(logging.INFO, "masterworker.execution.output"):
        assert attempt("talk").result == b""
        eventually(lambda: "no line end" in caplog.text)
    said = {
        record.getMessage().split(": ", 1)[1]: record.levelname
        for record in caplog.records
        if "talk" in record.getMessage()
    }
    assert said == {
        "root: careful": "WARNING",
        "second line": "WARNING",
        "of.mine: broken": "ERROR",
        "printed": "INFO",
        "no line end": "INFO",
    }


def test_an_attempt_cannot_flood_the_log(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """What is beyond the bounds is counted in one line; the attempt and the next one go on."""
    with caplog.at_level(logging.INFO, "masterworker.execution.output"):
        assert attempt("flood", "50000").result == b""
        assert attempt("talk").result == b""
        eventually(lambda: "of.mine: broken" in caplog.text)
    flood = [record for record in caplog.records if "flood task-" in record.getMessage()]
    assert len(flood) == MOST_LINES + 1
    assert f"{50_000 - MOST_LINES} more lines" in flood[-1].getMessage()
    assert flood[-1].levelname == "WARNING"


def test_late_output_of_an_attempt_is_not_the_nexts(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """Output after an attempt's answer is that attempt's, in the log and in the evidence."""
    with caplog.at_level(logging.INFO, "masterworker.execution.output"):
        assert attempt("chatter").result == b""
        assert attempt("exit", "3").detail == "exit code 3\nlast words"
        eventually(lambda: "last words" in caplog.text)
    said = [record.getMessage() for record in caplog.records if "chat" in record.getMessage()]
    assert said
    assert all(line.startswith("chatter task-") for line in said)


def test_a_fork_cannot_answer_for_its_parent(attempt: Attempt) -> None:
    """A fork that returns from the executor ends, and only the child's own result counts."""
    assert attempt("fork").result == b"1"
    assert attempt("echo", "next").result == b"next"


def test_a_death_is_seen_while_a_fork_holds_the_pipes_open(attempt: Attempt) -> None:
    """The end of the pipe never comes, and yet the crash is known at once."""
    assert attempt("orphan").detail == "exit code 7"


def test_nonsense_on_the_pipe_is_a_crash(attempt: Attempt) -> None:
    """A child that no longer speaks the protocol is replaced."""
    outcome = attempt("scribble")
    assert outcome.reason is Reason.CRASHED
    assert "violated the protocol" in outcome.detail
    assert attempt("echo", "next").result == b"next"


def test_answer_of_an_executors_making_is_a_crash(attempt: Attempt) -> None:
    """What an executor writes where only its child should: its attempt fails, the slot goes on."""
    answers = {
        b"\x81\xa1a" * 1_020 + b"\xc0": "sent an invalid answer",  # too deep a nest for repr
        msgpack.packb({"result": bytes(MAX_PAYLOAD + 1)}): "sent an invalid answer",
        msgpack.packb({"reason": "no reason", "detail": ""}): "sent an invalid answer",
        b"\x81\xa1a" + b"\xdd\x00\x01\x00\x00" * 900: "violated the protocol",
    }
    for packed, said in answers.items():
        outcome = attempt("answer", frames.LENGTH.pack(len(packed)) + packed)
        assert outcome.reason is Reason.CRASHED
        assert said in outcome.detail
        assert len(outcome.detail) < 400
    assert attempt("echo", "next").result == b"next"


def test_an_idle_child_that_died_costs_no_attempt(attempt: Attempt) -> None:
    """A warm child killed between two tasks is replaced before the next one is handed over."""
    child = int(attempt("pid").result or b"")
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not is_alive(child))
    assert attempt("echo", "next").result == b"next"
