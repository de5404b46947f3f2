"""The executor of the book's worker: it logs the task's data and is done."""

from __future__ import annotations

import logging

from masterworker import Register, TaskContext, hookimpl

logger = logging.getLogger(__name__)

LOGGED = 200
"""Maximum bytes of a task's data in the log."""


def read(payload: bytes, task: TaskContext) -> None:
    """Log the payload, escaped, since untrusted input must not forge log lines.

    Of an encrypted payload, only the length is logged.
    """
    if task.sealed:
        logger.info("task %s: %d bytes, encrypted on the way", task.task_id, len(payload))
        return
    more = f" and {len(payload) - LOGGED:,} more bytes" if len(payload) > LOGGED else ""
    logger.info("task %s: %r%s", task.task_id, payload[:LOGGED], more)


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Register `read`."""
    register("read", read, inline=True)
