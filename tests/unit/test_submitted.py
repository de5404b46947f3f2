"""Which payloads `mwctl submit` reports as not submitted when it ends early."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from masterworker.cli import inputs, main, submitting
from masterworker.roles.future import TaskFuture
from masterworker.words.errors import NotAuthorized, Unavailable


class Client:
    """A client that accepts `a` and `b`, refuses `c` and `d`, and stops at a payload `stop`."""

    def __init__(self, *_: object, **__: object) -> None:
        self.submitted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit_many(self, payloads: Sequence[bytes], **_: Any) -> list[TaskFuture]:
        """Submit tasks, as the real client does."""
        if b"stop" in payloads:
            raise Unavailable("ZooKeeper is not reachable")
        if b"interrupt" in payloads:
            raise KeyboardInterrupt
        futures = []
        for payload in payloads:
            self.submitted += 1
            futures.append(TaskFuture(f"8f14e45fceea167a-{self.submitted}"))
            if payload in (b"c", b"d"):
                futures[-1].fail(NotAuthorized(f"ZooKeeper did not accept {payload.decode()}"))
        return futures

    def flush(self, _timeout: float) -> None:
        """Nothing is ever under way."""


@pytest.fixture(autouse=True)
def _batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "BATCH_COUNT", 3)
    monkeypatch.setattr(submitting, "Client", Client)
    monkeypatch.setattr(submitting._Cluster, "warn", lambda _: None)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that hold their own names."""
    monkeypatch.chdir(tmp_path)
    names = ["a", "b", "c", "d", "stop", "interrupt"]
    for name in names:
        Path(name).write_text(name)
    return names


def submit(*names: str) -> int:
    """Call `mwctl submit` with these files, and return its exit code."""
    return main(["submit", "--hosts=127.0.0.1:1", "--executor=echo", *names])


@pytest.mark.usefixtures("files")
def test_the_payloads_of_a_batch_that_was_not_submitted_are_reported(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Those of the batch that failed, and those after it."""
    assert submit("a", "b", "a", "b", "stop", "a", "b") == Unavailable.exit_code
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 3
    assert "mwctl: not submitted: b and 3 more\n" in err


@pytest.mark.usefixtures("files")
def test_an_interrupted_batch_is_not_called_unsubmitted(capfd: pytest.CaptureFixture[str]) -> None:
    """Part of it may have been sent; only the payloads after it certainly were not."""
    assert submit("a", "interrupt", "b", "d") == 130
    err = capfd.readouterr().err
    assert "mwctl: not submitted: d\n" in err
    assert "mwctl: possibly not submitted: a and 2 more\n" in err


@pytest.mark.usefixtures("files")
def test_payloads_that_were_read_but_not_handed_over_are_reported(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is interrupted while it reads the second file of a batch."""
    real = inputs._contents

    def contents(path: Path) -> bytes:
        if path.name == "b":
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(inputs, "_contents", contents)
    assert submit("a", "b", "c", "d") == 130
    assert "mwctl: not submitted: a and 3 more\n" in capfd.readouterr().err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("form", ["table", "json"])
def test_every_refused_task_of_a_batch_is_reported(
    capfd: pytest.CaptureFixture[str], form: str
) -> None:
    """Each names its payload; the ids of the accepted ones are printed in every format."""
    assert submit("-o", form, "c", "a", "d", "b") == NotAuthorized.exit_code
    out, err = capfd.readouterr()
    assert "8f14e45fceea167a-2" in out
    assert "8f14e45fceea167a-1" not in out + err
    assert "mwctl: error: c: ZooKeeper did not accept c\n" in err
    assert "mwctl: error: d: ZooKeeper did not accept d\n" in err
    assert "mwctl: not submitted: b\n" in err
