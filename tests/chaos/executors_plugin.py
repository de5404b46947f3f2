"""The plugin of a campaign: executors that keep a journal of what ran where and when.

The stage installs this file's source into the run's directory, and what it writes goes beside it.
Start and end are on disk before the executor goes on, so an attempt that is killed leaves a start
without an end; the ticks of a slow one show until when it ran.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from masterworker import Register, TaskContext, hookimpl

EXECUTIONS = Path(__file__).parents[1] / "executions"
TICK = 0.1  # seconds


@cache
def _journal(worker: str) -> int:
    """The descriptor of this process's journal; `worker` is its worker's name."""
    file = EXECUTIONS / f"{worker}-{os.getpid()}.jsonl"
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _write(event: str, token: str, task: TaskContext) -> None:
    line = {
        "at": time.time(),
        "event": event,
        "task": task.task_id,
        "attempt": task.attempt,
        "worker": task.worker,
        "pid": os.getpid(),
        "token": token,
    }
    journal = _journal(task.worker.rpartition("-")[0])
    os.write(journal, json.dumps(line).encode() + b"\n")
    if event != "tick":
        os.fdatasync(journal)


def _is_released(order: Mapping[str, Any]) -> bool:
    """Whether the file beside this one for which the order waits, if for any, is there."""
    return "until" in order and Path(__file__).with_name(order["until"]).exists()


def carry_out(payload: bytes, task: TaskContext) -> bytes:
    """Take as long as the order says, or until it is released, and return its token."""
    order = json.loads(payload)
    token: str = order["token"]
    _write("start", token, task)
    until = time.monotonic() + order["seconds"]
    while (left := until - time.monotonic()) > 0 and not _is_released(order):
        time.sleep(min(TICK, left))
        _write("tick", token, task)
    _write("end", token, task)
    return b"done:" + token.encode()


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Bring the executor twice: for a process of its own, and inside the worker."""
    register("chaos", carry_out)
    register("chaos-inline", carry_out, inline=True)
