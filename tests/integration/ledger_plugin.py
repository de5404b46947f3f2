"""A plugin whose executors keep a ledger outside ZooKeeper of what ran where and when.

Tests install this file's source beside the ledger it writes. A line is on disk before the executor
goes on, so a process that is killed leaves behind a start without an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from masterworker import Register, TaskContext, hookimpl

HERE = Path(__file__).parent
LEDGER = HERE / "ledger.jsonl"
BEAT = 0.02  # seconds
LIMIT = 1.0  # seconds; of an attempt of `limited`


def _write(run: str, event: str, **details: object) -> None:
    line = json.dumps({"run": run, "event": event, "time": time.monotonic(), **details}) + "\n"
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, line.encode())
        os.fsync(ledger)
    finally:
        os.close(ledger)


@contextlib.contextmanager
def _recorded(task: TaskContext) -> Iterator[str]:
    run = secrets.token_hex(8)
    _write(run, "start", task=task.task_id, attempt=task.attempt, worker=task.worker)
    yield run
    _write(run, "end")


def brief(payload: bytes, task: TaskContext) -> bytes:
    """Return at once, with the worker's name."""
    with _recorded(task):
        return task.worker.encode()


def wait(payload: bytes, task: TaskContext) -> bytes:
    """Return once there is a file of the payload's name; until then, give signs of life."""
    with _recorded(task) as run:
        while not (HERE / payload.decode()).exists():
            _write(run, "beat")
            time.sleep(BEAT)
        return task.worker.encode()


def die(payload: bytes, task: TaskContext) -> bytes:
    """End this process with the payload as its exit code."""
    with _recorded(task):
        print("last words", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(int(payload))


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Register each executor twice, for a process and inline; one has a time limit."""
    for run in (brief, wait, die):
        register(run.__name__, run)
        register(f"{run.__name__}-inline", run, inline=True)
    register("limited", wait, time_limit=LIMIT)
