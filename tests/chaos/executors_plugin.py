"""The plugin of a campaign: executors that record in a journal what ran where and when.

The driver installs this file's source into the run's directory; the journals are written next to
it. Start and end are on disk before the executor continues, so an attempt that is killed leaves a
start without an end. The ticks of a slow attempt show until when it ran.
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
    """Whether the file for which the order waits, if any, exists next to this one."""
    return "until" in order and Path(__file__).with_name(order["until"]).exists()


def carry_out(payload: bytes, task: TaskContext) -> bytes:
    """Run for the time that the order says, or until it is released; return its token."""
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
    """Register the executor twice: for a process of its own, and inside the worker."""
    register("chaos", carry_out)
    register("chaos-inline", carry_out, inline=True)
