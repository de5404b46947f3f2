"""The worker's paperwork."""

from __future__ import annotations

import json

from masterworker.roles.clerk import Clerk, understand
from masterworker.words import records
from masterworker.words.executor import Executor
from masterworker.words.model import Task


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
