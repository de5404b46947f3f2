"""The included executors, called as the plain functions they are."""

from __future__ import annotations

import logging
import math
import signal
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest

from masterworker import AttemptFailed, TaskContext
from masterworker.execution.attempts import execute
from masterworker.execution.plugins import Plugins
from masterworker.words.executor import Executor
from masterworker_executors import command, python
from masterworker_executors.echo import echo
from masterworker_executors.read import read


def context(config: Any = None, **options: str) -> TaskContext:
    """What a task with these options is told."""
    return TaskContext("t-1", "x", options=options, config=config)


def test_settings() -> None:
    """The trivial executors are inline; those that run others' code are not."""
    executors = Plugins.probe().executors(["read", "echo", "command", "python"])
    assert {name: executor.inline for name, executor in executors.items()} == {
        "read": True,
        "echo": True,
        "command": False,
        "python": False,
    }


# --- read and echo -----------------------------------------------------------------------------


def test_echo_returns_every_byte() -> None:
    """The result is the payload, whatever its bytes are."""
    payload = bytes(range(256))
    assert echo(payload, context()) == payload


def test_read_logs_escaped_and_capped(caplog: pytest.LogCaptureFixture) -> None:
    """A payload can neither forge a log line nor flood the log."""
    with caplog.at_level(logging.INFO):
        read(b"x\nforged\x1b[31m" + b"y" * 899_000, context())
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("task t-1: b'x\\nforged\\x1b[31myyy")
    assert message.endswith("and 898,813 more bytes")
    assert len(message) < 1_000


# --- command -----------------------------------------------------------------------------------


def script(text: str) -> list[str]:
    """A command line that runs this Python script."""
    return [sys.executable, "-c", textwrap.dedent(text)]


COPY = script("import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)")


def test_command_gets_the_payload_and_gives_the_result() -> None:
    """More bytes than a pipe holds go through in both directions, unchanged."""
    payload = bytes(range(256)) * 3_500
    assert command.command(payload, context({"copy": COPY})) == payload


def test_command_that_ignores_its_input() -> None:
    """A command need not read the payload."""
    assert command.command(b"x" * 900_000, context({"hello": ["echo", "hello"]})) == b"hello\n"


def test_command_is_chosen_by_option() -> None:
    """The option `command` chooses; no shell expands anything."""
    allowed = {"a": ["echo", "$HOME;", "*"], "b": ["echo", "b"]}
    assert command.command(b"", context(allowed, command="a")) == b"$HOME; *\n"
    assert command.command(b"", context(allowed, command="b")) == b"b\n"


@pytest.mark.parametrize(
    ("allowed", "options", "evidence"),
    [
        ({}, {}, "allowed: none"),
        ({}, {"command": "echo"}, "command 'echo' is not allowed; allowed: none"),
        ({"a": ["x"], "b": ["y"]}, {}, "is missing; allowed: a, b"),
        ({"a": ["x"], "b": ["y"]}, {"command": "x"}, "'x' is not allowed; allowed: a, b"),
        ({"a": ["x"]}, {"command": ""}, "'' is not allowed; allowed: a"),
    ],
)
def test_command_not_allowed(
    allowed: command.Allowed, options: Mapping[str, str], evidence: str
) -> None:
    """What the operator has not allowed is refused, and the refusal says what is allowed."""
    with pytest.raises(AttemptFailed) as caught:
        command.command(b"", context(allowed, **options))
    assert evidence in str(caught.value)


def test_command_that_fails_shows_code_and_end_of_stderr() -> None:
    """The exit code and the end of stderr, however much there was, are the evidence."""
    failing = script("import sys; sys.stderr.write('x' * 2_000_000 + 'at last'); sys.exit(7)")
    with pytest.raises(AttemptFailed) as caught:
        command.command(b"", context({"bad": failing}))
    message = str(caught.value)
    assert message.startswith("command 'bad' ended with exit code 7: xxx")
    assert message.endswith("at last")
    assert len(message) < 2_000


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_command_ended_by_a_signal(number: int, name: str) -> None:
    """A signal is named, or numbered if it has no name."""
    dying = script(f"import os; os.kill(os.getpid(), {number})")
    with pytest.raises(AttemptFailed, match=f"was ended by {name}$"):
        command.command(b"", context({"dying": dying}))


def test_command_ends_when_it_ends_itself_and_not_with_what_it_left() -> None:
    """What holds its output open does not keep the result, and all that was written is in it."""
    leaving = ["sh", "-c", "head -c 200000 /dev/zero; sleep 3 & echo hi; echo $! >&2"]
    began = time.monotonic()
    result = command.command(b"", context({"leaving": leaving}))
    assert time.monotonic() - began < 3
    assert result == bytes(200_000) + b"hi\n"


def test_command_whose_exit_code_is_lost_has_failed() -> None:
    """Where SIGCHLD is ignored nobody learns the exit code, and it is not taken for 0."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(AttemptFailed, match="exit code is unknown"):
            command.command(b"", context({"bad": ["sh", "-c", "exit 3"]}))
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_command_that_writes_too_much_is_killed() -> None:
    """An endless output is neither read nor kept beyond what a result can hold."""
    with pytest.raises(AttemptFailed, match="more than 900,000 bytes"):
        command.command(b"", context({"endless": ["cat", "/dev/zero"]}))


def test_command_may_write_a_whole_result() -> None:
    """The limit itself is allowed."""
    result = command.command(b"", context({"most": ["head", "-c", "900000", "/dev/zero"]}))
    assert len(result) == 900_000


def test_command_that_does_not_exist() -> None:
    """The failure names the program."""
    with pytest.raises(AttemptFailed, match=r"cannot be started.*no-such-program"):
        command.command(b"", context({"gone": ["no-such-program"]}))


@pytest.mark.parametrize(
    ("raw", "evidence"),
    [
        ({"alow": {}}, "unknown key 'alow'"),
        ({"allow": ["ls"]}, "expected a table"),
        ({"allow": {"ls": "ls -l"}}, "allow.ls is 'ls -l'"),
        ({"allow": {"ls": []}}, "allow.ls is []"),
        ({"allow": {"ls": ["ls", 1]}}, "allow.ls is ['ls', 1]"),
        ({"allow": {"ls": [""]}}, "allow.ls is ['']"),
        ({"allow": {"x": ["no-such-program"]}}, "program 'no-such-program' was not found (PATH"),
        ({"allow": {"x": ["/etc/passwd"]}}, "program '/etc/passwd' was not found"),
    ],
)
def test_command_configuration_refused(raw: dict[str, Any], evidence: str) -> None:
    """A mistake in the table is named."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
        command.configure(raw)
    assert evidence in str(caught.value)


def test_command_allows_nothing_by_default() -> None:
    """Without configuration no command can be run."""
    assert command.configure({}) == {}


# --- python ------------------------------------------------------------------------------------


def packed(*args: Any, **kwargs: Any) -> bytes:
    """A payload with these arguments."""
    payload: bytes = msgpack.packb({"args": args, "kwargs": kwargs})
    return payload


def test_python_calls_an_allowed_function() -> None:
    """Arguments go in and the value comes out as msgpack."""
    config = python.configure({"allow": ["math:sqrt", "builtins:sorted", "builtins:dict.fromkeys"]})
    result = python.call(packed(9), context(config, function="math:sqrt"))
    assert msgpack.unpackb(result) == 3.0
    result = python.call(
        packed([1, 3, 2], reverse=True), context(config, function="builtins:sorted")
    )
    assert msgpack.unpackb(result) == [3, 2, 1]
    result = python.call(packed(["a"]), context(config, function="builtins:dict.fromkeys"))
    assert msgpack.unpackb(result) == {"a": None}


def test_python_without_arguments() -> None:
    """An empty payload, or a map without the keys, calls without arguments."""
    task = context({"builtins:int": int}, function="builtins:int")
    assert python.call(b"", task) == msgpack.packb(0)
    assert python.call(msgpack.packb({}), task) == msgpack.packb(0)


@pytest.mark.parametrize(
    "function", ["os:system", "math:sqrt ", "math:sq", "math", "", "throw_m:f"]
)
def test_python_not_allowed_is_not_imported(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an exact match is looked at; nothing else is so much as imported."""
    (tmp_path / "throw_m.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AttemptFailed, match="is not allowed; allowed: math:sqrt"):
        python.call(packed(1), context({"math:sqrt": math.sqrt}, function=function))
    assert "throw_m" not in sys.modules


def test_python_allows_nothing_by_default() -> None:
    """Without configuration no function can be called."""
    config = python.configure({})
    with pytest.raises(AttemptFailed, match="allowed: none"):
        python.call(b"", context(config, function="math:sqrt"))


@pytest.mark.parametrize(
    "payload",
    [
        b"not msgpack",
        b"\xc1",
        b"\x93\x01",
        msgpack.packb([1]),
        msgpack.packb({"args": 1}),
        msgpack.packb({"kwargs": [1]}),
        msgpack.packb({"kwargs": {b"x": 1}}),
        msgpack.packb({"argz": [1]}),
        msgpack.packb({"args": [msgpack.ExtType(1, b"x")]}),
        msgpack.packb({}) + b"\x00",
        msgpack.packb({"args": [[0] * 100_001]}),
        b"\x81\xa4args" + b"\x91" * 100_000,
    ],
    ids=lambda payload: repr(payload[:16]),
)
def test_python_refuses_other_payloads(payload: bytes) -> None:
    """Whatever is not a bounded map of args and kwargs is refused."""
    with pytest.raises(AttemptFailed, match=r"payload|args"):
        python.arguments(payload)


def test_python_result_that_is_no_plain_data() -> None:
    """A value that msgpack cannot hold fails with the function's name and the type."""
    task = context({"builtins:complex": complex}, function="builtins:complex")
    with pytest.raises(AttemptFailed, match="builtins:complex returned a complex"):
        python.call(packed(1), task)


def test_python_finds_modules_in_the_path_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the operator's is searched, after all others; what raises there is named."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "throw_jobs.py").write_text("def double(x): return 2 * x\n")
    (tmp_path / "throw_exit.py").write_text("raise SystemExit('not here')\n")
    table = {"path": [str(tmp_path)], "allow": ["throw_jobs:double"]}
    task = context(python.configure(table), function="throw_jobs:double")
    assert msgpack.unpackb(python.call(packed(4), task)) == 8
    assert sys.path[-1] == str(tmp_path)
    with pytest.raises(ValueError, match="'throw_exit' cannot be imported: SystemExit: not here"):
        python.configure(table | {"allow": ["throw_exit:f"]})


# --- what a failure shows ------------------------------------------------------------------------


def evidence_of(executor: Executor, task: TaskContext, payload: bytes = b"") -> str:
    """The evidence of an attempt that fails."""
    outcome = execute(executor, payload, task)
    assert outcome.reason is not None
    return outcome.detail


@pytest.mark.parametrize(
    ("argv", "evidence"),
    [
        (["sh", "-c", "echo no luck >&2; exit 3"], "command 'x' ended with exit code 3: no luck"),
        (["sh", "-c", "exit 4"], "command 'x' ended with exit code 4"),
        (["sh", "-c", "kill -9 $$"], "command 'x' was ended by SIGKILL"),
        (
            ["sh", "-c", "echo first >&2; echo last >&2; exit 5"],
            "command 'x' ended with exit code 5: last\nthe end of its stderr:\nfirst\nlast",
        ),
    ],
)
def test_a_failed_command_shows_its_own_words(argv: list[str], evidence: str) -> None:
    """Exit code or signal and the end of stderr, and no traceback of ours."""
    executor = Executor("command", command.command)
    assert evidence_of(executor, context({"x": argv})) == evidence


def test_a_failed_function_shows_its_own_frames() -> None:
    """The traceback begins in the function; where the call itself is wrong, there is none."""
    allowed = {"f": failing, "g": math.hypot}
    executor = Executor("python", python.call)
    evidence = evidence_of(executor, context(allowed, function="f"))
    assert evidence.startswith("ZeroDivisionError: division by zero\nTraceback")
    assert "in failing" in evidence
    assert "masterworker_executors" not in evidence
    wrong = evidence_of(executor, context(allowed, function="g"), packed(1, k=2))
    assert wrong == "TypeError: math.hypot() takes no keyword arguments"
    assert "Traceback" not in evidence_of(executor, context(allowed, function="h"))
    assert "Traceback" not in evidence_of(executor, context(allowed, function="f"), b"\xc1")


def failing() -> None:
    """Fails in its own code."""
    1 / 0  # noqa: B018


@pytest.mark.parametrize(
    ("raw", "evidence"),
    [
        ({"alow": []}, "unknown key 'alow'"),
        ({"allow": "math:sqrt"}, "allow is 'math:sqrt'"),
        ({"allow": ["math.sqrt"]}, "allow has 'math.sqrt'"),
        ({"allow": ["math:*"]}, "allow has 'math:*'"),
        ({"allow": [1]}, "allow has 1"),
        ({"allow": ["throw_nowhere:f"]}, "No module named 'throw_nowhere' (searched: "),
        ({"allow": ["throw_nowhere:f"]}, "add its folder: path = ['/the/folder']"),
        ({"allow": ["math:sqroot"]}, "but module 'math' has no attribute 'sqroot'"),
        ({"allow": ["math:pi"]}, "'math:pi', which is a float, not a function"),
        ({"path": "/tmp"}, "path is '/tmp', expected a list"),
        ({"path": ["."]}, "path has '.', which is not an absolute folder"),
        ({"path": ["/no/such/folder"]}, "path has '/no/such/folder'"),
    ],
)
def test_python_configuration_refused(raw: dict[str, Any], evidence: str) -> None:
    """A mistake in the list is named."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
        python.configure(raw)
    assert evidence in str(caught.value)
