"""`mwctl submit`: ids, results to the byte, and an exit code for each way it can end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from masterworker.dev.processes import masterworker_command
from masterworker.words import limits, paths
from tests.cli.calling import mwctl
from tests.cli.conftest import Cluster
from tests.waiting import DEADLINE

EVERY_BYTE = bytes(range(256)) * 1_000
"""With line ends of all kinds, and nothing that is text."""


def test_result_goes_to_stdout_to_the_byte(cluster: Cluster) -> None:
    """With --wait, stdout has the result and nothing else; stderr has nothing at all."""
    ended = cluster.mwctl(
        "submit", "--payload", "-", "--executor", "echo", "--wait", stdin=EVERY_BYTE
    )
    assert (ended.code, ended.out, ended.err) == (0, EVERY_BYTE, "")


def test_log_stays_off_stdout(cluster: Cluster) -> None:
    """However much is logged, as JSON, stdout has the data alone and each line parses."""
    call = ["submit", "--payload", "-", "--executor", "echo", "-o", "json"]
    ended = cluster.mwctl(*call, "--log-level", "debug", "--log-format", "json", stdin=b"x")
    [row] = json.loads(ended.out)
    assert row.keys() == {"id", "payload"}
    for line in ended.err.splitlines():
        assert json.loads(line).keys() == {"time", "level", "logger", "message"}


def test_ids_are_printed_and_results_wait(cluster: Cluster, tmp_path: Path) -> None:
    """Without --wait: one id a line, in order; results stay for `tasks result`, however fast."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file in files:
        file.write_bytes(file.name.encode() * 400_000)  # each fills a batch of its own
    payloads = [f"--payload={file}" for file in files]
    ended = cluster.mwctl("submit", "--executor", "echo", *payloads)
    assert ended.code == 0
    assert len(ended.lines) == 3
    for task, file in zip(ended.lines, files, strict=True):
        assert paths.is_task(task)
        cluster.wait_until("done", task)
        assert cluster.mwctl("tasks", "result", task).out == file.read_bytes()


def test_rows_name_the_payloads(cluster: Cluster) -> None:
    """With -o jsonl each line is an object with the id and the payload it is for."""
    ended = cluster.mwctl("submit", "--payload", "-", "-o", "jsonl", stdin=b"x")
    row = json.loads(ended.out)
    assert row == {"id": row["id"], "payload": "-"}


def test_output_file_and_folder(cluster: Cluster, tmp_path: Path) -> None:
    """--output is a file for one payload, and for several a folder with a file for each."""
    one, many = tmp_path / "one", tmp_path / "many"
    (tmp_path / "a").write_bytes(b"a\r\n")
    (tmp_path / "b").write_bytes(b"\xff")
    call = ["submit", "--executor", "echo", "--wait", "--payload", tmp_path / "a"]
    assert cluster.mwctl(*call, "--output", one).code == 0
    assert one.read_bytes() == b"a\r\n"
    ended = cluster.mwctl(*call, "--payload", tmp_path / "b", "--output", many)
    assert {file.name: file.read_bytes() for file in many.iterdir()} == {
        "a": b"a\r\n",
        "b": b"\xff",
    }
    assert ended.err == "mwctl: 2 done\n"


def test_results_of_several_payloads_follow_one_another(cluster: Cluster, tmp_path: Path) -> None:
    """Without --output the results are written in the order of the payloads."""
    for name in "abc":
        (tmp_path / name).write_text(name)
    payloads = [f"--payload={tmp_path / name}" for name in "bca"]
    assert cluster.mwctl("submit", "--executor=echo", "--wait", *payloads).out == b"bca"


def test_failed_task_gives_3_and_evidence(cluster: Cluster) -> None:
    """The reason and the program's stderr are shown, with nothing in it that drives a terminal."""
    call = ["submit", "--payload", "-", "--executor", "command", "--wait"]
    ended = cluster.mwctl(*call, "--option", "command=fail")
    assert (ended.code, ended.out) == (3, b"")
    assert ended.err.startswith("mwctl: error: task ")
    assert "no such \\x1b[31mthing" in ended.err
    assert "\x1b" not in ended.err


def test_timeout_gives_124_and_the_task_goes_on(cluster: Cluster) -> None:
    """The message names the task, whose result is there to be asked for later."""
    call = ["submit", "--payload", "-", "--executor", "command", "--option", "command=gate"]
    ended = cluster.mwctl(*call, "--wait", "--timeout", "0.3")
    assert (ended.code, ended.out) == (124, b"")
    later = ended.err.splitlines()[-1]
    assert "has no result yet (worker " in later
    task = later.split()[-1]
    cluster.wait_until("assigned", task)
    cluster.open_gate()
    cluster.wait_until("done", task)
    assert cluster.mwctl("tasks", "result", task).out == b"passed"


def test_interrupt_gives_130_and_says_how_to_go_on(cluster: Cluster) -> None:
    """Ctrl-C ends the wait, not the task."""
    command = masterworker_command(
        "submit", "--payload=-", "--executor=nobodys", "--wait", f"--hosts={cluster.hosts}"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as waiting:
        assert waiting.stdin is not None
        assert waiting.stderr is not None
        waiting.stdin.close()
        assert b"no ready worker offers" in waiting.stderr.readline()  # so it waits
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(DEADLINE) == 130
        assert b"mwctl tasks result" in waiting.stderr.read()


def test_result_that_cannot_be_written_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    """A full disk costs an error and an exit code, not the result, nor those of other tasks."""
    (tmp_path / "payload").write_bytes(b"precious")
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            masterworker_command(
                "submit",
                "--executor=echo",
                "--wait",
                f"--payload={tmp_path / 'payload'}",
                f"--hosts={cluster.hosts}",
            ),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == 1
    task = ended.stderr.rpartition("mwctl tasks result ")[2].strip()
    assert cluster.mwctl("tasks", "result", task).out == b"precious"


def test_unoffered_executor_is_accepted_with_a_warning(cluster: Cluster) -> None:
    """The task waits for a worker that may come; stderr says so, stdout has the id."""
    ended = cluster.mwctl("submit", "--payload", "-", "--executor", "nobodys")
    assert ended.code == 0
    assert "the task is waiting: no ready worker offers executor 'nobodys'" in ended.err
    assert cluster.state(ended.lines[0]) == "pending"


def test_largest_payload_passes_and_a_larger_one_gives_5(cluster: Cluster, tmp_path: Path) -> None:
    """900,000 bytes go there and back; one more is refused, and nothing is submitted."""
    largest = b"x" * limits.MAX_PAYLOAD
    call = ["submit", "--executor", "echo", "--wait", "--payload"]
    assert cluster.mwctl(*call, "-", stdin=largest).out == largest
    large = tmp_path / "large"
    large.write_bytes(largest + b"x")
    before = tasks(cluster)
    ended = cluster.mwctl(*call, "-", "--payload", large, stdin=b"small")
    assert (ended.code, ended.out) == (5, b"")
    assert "900,000" in ended.err
    assert str(large) in ended.err
    assert tasks(cluster) == before


def tasks(cluster: Cluster) -> set[str]:
    """The ids of all tasks; those of other tests may go on meanwhile."""
    return {row["id"] for row in json.loads(cluster.mwctl("tasks", "list", "-o", "json").out)}


def test_environment_stands_for_options(cluster: Cluster) -> None:
    """Each option can be a variable; the option wins over it."""
    env = {"MWCTL_HOSTS": cluster.hosts, "MWCTL_EXECUTOR": "echo", "MWCTL_WAIT": "1"}
    assert mwctl("submit", "--payload", "-", stdin=b"there", env=env).out == b"there"
    given = mwctl("submit", "--payload", "-", "--executor", "read", stdin=b"there", env=env)
    assert given.out == b""  # the book's executor has no result


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--payload", "/nowhere/at/all"],
        ["--payload", "/"],
        ["--payload", "-", "--payload", "-"],
        ["--payload", "-", "--output", "file"],
        ["--payload", "-", "--wait", "--output", "/nowhere/file"],
        ["--payload", "-", "--option", "novalue"],
        ["--payload", "-", "--attempts", "0"],
        ["--payload", "-", "--wait", "--timeout", "nan"],
        ["-", "-"],
        ["-", "--payload", "-"],
        ["--from-file", "-", "-"],
        ["--from-file", "/nowhere/at/all"],
        ["/"],
        ["--payload", "-", "--wait", "-o", "json"],
        ["--payload", "-", "--wait", "-o", "json", "--output", "/dev/stdout"],
    ],
)
def test_usage_errors_give_2(arguments: list[str]) -> None:
    """What is wrong with the command line is said before anything is connected to."""
    ended = mwctl("submit", "--hosts", "127.0.0.1:1", *arguments)  # where nobody answers: 69
    assert (ended.code, ended.out) == (2, b"")
    assert "Error: " in ended.err
