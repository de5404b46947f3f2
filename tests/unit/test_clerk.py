"""The worker's paperwork."""

from __future__ import annotations

import json

from masterworker.execution.attempts import Outcome
from masterworker.roles.clerk import Clerk, Held, understand
from masterworker.words import records
from masterworker.words.executor import Executor
from masterworker.words.model import Reason, Task


def test_every_attempt_has_options_of_its_own() -> None:
    """Tasks submitted together share a header; what an executor does to its options stays there."""
    ids = ["0123456789abcdef-1", "0123456789abcdef-2"]
    head = records.task_head(Task("", "echo", options={"size": "8"}))
    clerk = Clerk("w", {"echo": Executor("echo", lambda payload, _: payload)}, lambda _: None, None)
    one, other = (clerk.job(understand(name, head + b"payload", 0)).context for name in ids)
    assert [one.task_id, other.task_id] == ids
    assert json.dumps(one.options) == json.dumps(other.options) == '{"size": "8"}'
    one.options.clear()  # type: ignore[attr-defined]
    assert other.options == {"size": "8"}


def test_the_line_of_a_failed_attempt_has_no_evidence_of_a_sealed_task() -> None:
    """It says why an attempt failed, but not where the payload came encrypted."""
    clerk = Clerk("w", {"echo": Executor("echo", lambda payload, _: payload)}, lambda _: None, None)
    outcome = Outcome("t", 1.0, 3.5, reason=Reason.FAILED, detail="ValueError: secret\ntraceback")
    open_line, sealed_line = (
        clerk.failure(Held(Task("0123456789abcdef-1", "echo", sealed=key), b"", 0), outcome)
        for key in ("", "k1")
    )
    assert str(open_line).endswith(": ValueError: secret")
    assert "secret" not in str(sealed_line) + str(sealed_line.extra)
    assert (sealed_line.reason, sealed_line.seconds) == (Reason.FAILED, 2.5)
