"""The child process that runs executors: `python -m masterworker.execution.child REQUESTS ANSWERS`.

It reads requests from one pipe and writes answers to another; the two numbers are their file
descriptors. The first request says in what bounds to work and which executors to load, and the
answer is that it is ready; each further one is a task, and the answer is its result or why there is
none. It ends when the worker does: at the end of the pipe, or by the kernel's hand while an
executor is at work.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..words.errors import BadConfiguration
from ..words.executor import Executor, TaskContext
from ..words.model import Reason
from . import frames, prctl
from .attempts import execute
from .configuration import configure
from .plugins import Plugins
from .sandbox import allow_cpu, confine

Answer = dict[str, Any]
Loaded = Callable[[Mapping[str, Any]], Answer]
"""Answers a request for one executor."""


def main(requests: int, answers: int) -> None:
    """Serve until the worker closes its end of `requests`."""
    prctl.die_with_parent()
    # Handlers that do nothing, not SIG_IGN: that would be inherited by what executors start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # when to stop is the worker's to say
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)

    this = os.getpid()
    wanted = _read(requests)
    if wanted is None:
        return
    confine(wanted["limits"], new_privileges=wanted["new_privileges"])
    executors = _load(wanted["executors"])
    _write(answers, {"ready": True})
    while (request := _read(requests)) is not None:
        allow_cpu(wanted["limits"])
        answer = executors[request["executor"]](request)
        if os.getpid() != this:
            os._exit(1)  # a fork that an executor let escape must not answer for its parent
        _write(answers, answer)


def _load(wanted: list[dict[str, Any]]) -> dict[str, Loaded]:
    """One answering function per executor. One that cannot be loaded fails only its own tasks."""
    plugins = Plugins.load()
    loaded: dict[str, Loaded] = {}
    for one in wanted:
        name, plugin, config = one["name"], one["plugin"], one["config"]
        try:
            executor = plugins.executor(f"{plugin}:{name}" if plugin else name)
            tables = {} if config is None else {name: config}
            settings = configure({name: executor}, tables)[name]
        except BadConfiguration as error:
            loaded[name] = _refuser(str(error))
        else:
            loaded[name] = _caller(executor, settings)
    return loaded


def _refuser(why: str) -> Loaded:
    detail = f"the worker's child process could not load this executor: {why}"
    return lambda _: {"reason": Reason.FAILED.value, "detail": detail}


def _caller(executor: Executor, config: Any) -> Loaded:
    def call(request: Mapping[str, Any]) -> Answer:
        context = TaskContext(
            task_id=request["task_id"],
            executor=request["executor"],
            worker=request["worker"],
            attempt=request["attempt"],
            submitted=request["submitted"],
            options=request["options"],
            config=config,
            sealed=request["sealed"],
        )
        outcome = execute(executor, request["payload"], context)
        if outcome.reason is None:
            return {"result": outcome.result}
        return {"reason": outcome.reason.value, "detail": outcome.detail}

    return call


def _read(descriptor: int) -> dict[str, Any] | None:
    """The next message, or None at the end of the pipe."""
    prefix = _read_exactly(descriptor, frames.LENGTH.size)
    packed = _read_exactly(descriptor, frames.length(prefix)) if prefix else None
    return frames.unpack(packed) if packed else None


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(descriptor, size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _write(descriptor: int, message: Answer) -> None:
    left = memoryview(frames.pack(message))
    while left:
        left = left[os.write(descriptor, left) :]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # the worker is gone: no executor's thread may hold this process back
