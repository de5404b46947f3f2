"""The smallest possible executor: the result is the payload."""

from __future__ import annotations

from masterworker import Register, TaskContext, hookimpl


def echo(payload: bytes, task: TaskContext) -> bytes:  # noqa: ARG001 - every executor is given the task
    """Return the payload."""
    return payload


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Register `echo`."""
    register("echo", echo, inline=True)
