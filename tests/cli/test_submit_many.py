"""`mwctl submit` with many payloads: which became which task, and what became of each."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from masterworker.dev.processes import masterworker_command
from masterworker.words import limits
from tests.cli.calling import OWN
from tests.cli.conftest import Cluster
from tests.waiting import DEADLINE

ECHO = ("submit", "--executor=echo")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files of the same name, and one with an odd name."""
    made = [tmp_path / name for name in ("a/data.txt", "b/data.txt", "c/an odd\nname")]
    for number, file in enumerate(made):
        file.parent.mkdir()
        file.write_text(f"payload {number}")
    return made


def test_files_become_tasks_and_results_files(
    cluster: Cluster, files: list[Path], tmp_path: Path
) -> None:
    """Arguments, --payload and --from-file; a row says which task and which result is whose."""
    (tmp_path / "list").write_text(f"{files[1]}\n\n")
    out = tmp_path / "out"
    call = [*ECHO, files[0], f"--payload={files[2]}", f"--from-file={tmp_path / 'list'}"]
    ended = cluster.mwctl(*call, "--wait", "--output", out, "-o", "jsonl")
    assert (ended.code, ended.err) == (0, "mwctl: 3 done\n")
    rows = {row["payload"]: row for row in map(json.loads, ended.lines)}
    assert rows.keys() == {str(file) for file in files}
    for file in files:
        row = rows[str(file)]
        assert row.keys() == {"id", "payload", "state", "reason", "why", "output", "seconds"}
        assert (row["state"], row["reason"], row["why"]) == ("done", None, "")
        assert 0 < row["seconds"] < DEADLINE
        assert Path(row["output"]).read_bytes() == file.read_bytes()
    names = sorted(file.name for file in out.iterdir())
    assert names == ["an odd\nname", "data-2.txt", "data.txt"]


def test_failures_are_counted_and_named(
    cluster: Cluster, files: list[Path], tmp_path: Path
) -> None:
    """The summary is the last line, each failure names its file, and the exit code is 3."""
    call = ["submit", "--executor=command", "--option=command=fail", *files[:2], "--wait"]
    ended = cluster.mwctl(*call, "--output", tmp_path / "out", "-o", "json")
    assert ended.code == 3
    assert ended.err.splitlines()[-1] == "mwctl: 2 failed"
    for row in json.loads(ended.out):
        assert (row["state"], row["reason"], row["output"]) == ("failed", "failed", None)
        assert f"error: {row['payload']}: task {row['id']} failed" in ended.err
    assert list((tmp_path / "out").iterdir()) == []


def test_each_line_of_stdin_is_a_task(cluster: Cluster) -> None:
    """Also an empty one, and the last one without its end; results are in their order."""
    lines = b"".join(b"%d\n" % number for number in range(40))
    ended = cluster.mwctl(*ECHO, "-", "--wait", stdin=lines + b"\nlast")
    assert ended.out == lines.replace(b"\n", b"") + b"last"
    assert ended.err == "mwctl: 42 done\n"


def test_lines_are_submitted_as_they_come(cluster: Cluster) -> None:
    """A result is written while the next line is still to be typed."""
    command = masterworker_command(*ECHO, "-", "--wait", f"--hosts={cluster.hosts}")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=OWN) as typing:
        assert typing.stdin is not None
        assert typing.stdout is not None
        for line in (b"one", b"two"):
            typing.stdin.write(line + b"\n")
            typing.stdin.flush()
            assert typing.stdout.read(3) == line
        typing.stdin.close()
        assert typing.wait(DEADLINE) == 0


def test_a_line_that_is_too_long_ends_the_submission(cluster: Cluster) -> None:
    """What came before it is a task; the exit code says that something was refused."""
    stdin = b"sound\n" + b"x" * (limits.MAX_PAYLOAD + 1) + b"\nunread\n"
    ended = cluster.mwctl(*ECHO, "-", "--wait", stdin=stdin)
    assert (ended.code, ended.out) == (5, b"sound")
    assert "line 2 was not submitted" in ended.err
    assert ended.err.splitlines()[-1] == "mwctl: 1 done, 1 not submitted"


def test_no_payload_is_replaced_by_a_result(cluster: Cluster, files: list[Path]) -> None:
    """A folder for results that has payloads in it is refused before anything is submitted."""
    ended = cluster.mwctl(*ECHO, *files[:2], "--wait", "--output", files[0].parent)
    assert ended.code == 2
    assert "contains the payload" in ended.err


def test_a_word_that_is_no_file_is_answered(cluster: Cluster) -> None:
    """The message says how to submit the text itself."""
    ended = cluster.mwctl("submit", "hello you")
    assert ended.code == 2
    assert "echo 'hello you' | mwctl submit --payload -" in ended.err


def test_an_empty_list_is_said(cluster: Cluster) -> None:
    """It is no error."""
    ended = cluster.mwctl(*ECHO, "--from-file", "-", stdin=b"")
    assert (ended.code, ended.out, ended.err) == (
        0,
        b"",
        "mwctl: nothing to submit: the input is empty\n",
    )


def test_the_default_executor_is_named(cluster: Cluster) -> None:
    """It returns nothing, which surprises; one that was asked for does not."""
    ended = cluster.mwctl("submit", "--payload", "-", stdin=b"x")
    assert (
        "using 'read', which returns an empty result. To get the payload back, use --executor echo"
        in ended.err
    )
    assert cluster.mwctl("submit", "--executor=read", "--payload", "-", stdin=b"x").err == ""


@pytest.mark.parametrize(("redirection", "wait"), [(">/dev/full", False), (">&-", True)])
def test_ids_and_results_survive_a_broken_stdout(
    cluster: Cluster, files: list[Path], redirection: str, wait: bool
) -> None:
    """What stdout does not take is kept, stderr names the tasks, and the exit code is 1."""
    command = masterworker_command(*ECHO, *map(str, files[:2]), f"--hosts={cluster.hosts}")
    arguments = [*command, "--wait"] if wait else command
    ended = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *arguments],
        stderr=subprocess.PIPE,
        env=OWN,
        timeout=DEADLINE,
        check=False,
        text=True,
    )
    assert ended.returncode == 1
    assert "cannot write to stdout: " in ended.stderr
    for file in files[:2]:
        [line] = [line for line in ended.stderr.splitlines() if str(file) in line]
        task = line.partition(" task ")[2].split()[0]
        cluster.wait_until("done", task)
        assert cluster.mwctl("tasks", "result", task).out == file.read_bytes()


def test_output_to_stdout_by_its_name(cluster: Cluster, tmp_path: Path) -> None:
    """--output /dev/stdout writes the result alone: into a pipe, and appended to a file."""
    call = [*ECHO, "--payload=-", "--wait", "--output=/dev/stdout"]
    assert cluster.mwctl(*call, stdin=b"result").out == b"result"
    appended = tmp_path / "appended"
    appended.write_bytes(b"before\n")
    with appended.open("ab") as stdout:
        subprocess.run(
            masterworker_command(*call, f"--hosts={cluster.hosts}"),
            input=b"result",
            stdout=stdout,
            env=OWN,
            timeout=DEADLINE,
            check=True,
        )
    assert appended.read_bytes() == b"before\nresult"
    assert not list(tmp_path.glob(".mwctl-*"))
