"""The smallest plugin for masterworker: one executor, which returns its payload backwards."""

from masterworker import Register, TaskContext, hookimpl


def reverse(payload: bytes, task: TaskContext) -> bytes:
    """Return the payload backwards."""
    return payload[::-1]


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Bring `reverse`."""
    register("reverse", reverse)
