"""The executor of the book's worker: it reads the task's data, logs it, and the task is done."""

from __future__ import annotations

import logging

from masterworker import Register, TaskContext, hookimpl

logger = logging.getLogger(__name__)

LOGGED = 200
"""Bytes of a task's data that are logged."""


def read(payload: bytes, task: TaskContext) -> None:
    """Log the payload, escaped: a stranger wrote it, and it must not forge log lines.

    Of a payload that came encrypted, only the length.
    """
    if task.sealed:
        logger.info("task %s: %d bytes, encrypted on the way", task.task_id, len(payload))
        return
    more = f" and {len(payload) - LOGGED:,} more bytes" if len(payload) > LOGGED else ""
    logger.info("task %s: %r%s", task.task_id, payload[:LOGGED], more)


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Bring `read`."""
    register("read", read, inline=True)
