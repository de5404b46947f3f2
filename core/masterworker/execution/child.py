"""The child process that runs executors: `python -m masterworker.execution.child REQUESTS ANSWERS`.

It reads requests from one pipe and writes answers to another; the two numbers are their file
descriptors. Its first message says that it has started. The first request names the resource
limits, the plugin and the executors to load; the answer says that the child is ready, and which
executors are unavailable. Each further request is a task; the answer is its result, or why there is
none. A second message follows when the child has undone what the attempt left behind: it says
whether the child can take another task. Every attempt finds the process in the state in which it
was after the plugin was loaded. The child ends when the worker does: at the end of the pipe, or
killed by the kernel while an executor is running.
"""

from __future__ import annotations

import contextlib
import contextvars
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..words.errors import BadConfiguration
from ..words.executor import Executor, TaskContext
from ..words.limits import MAX_DETAIL
from . import frames, prctl
from .attempts import execute
from .configuration import configured, table_name
from .leftovers import Leftovers
from .loading import evidence, load
from .output import LevelFormatter
from .process_state import EVERYTHING, KERNEL, ProcessState, reset_signals
from .sandbox import allow_cpu, confine

logger = logging.getLogger("masterworker.execution.child")  # the name here is __main__

Answer = dict[str, Any]
Call = Callable[[Mapping[str, Any]], Answer]
"""Answers a request for one executor."""


def main(requests: int, answers: int) -> None:
    """Serve until the worker closes its end of `requests`."""
    prctl.die_with_parent()
    prctl.adopt_orphans()  # first, so that processes started by an import can be found, too
    reset_signals()
    # Handlers that do nothing, not SIG_IGN, which processes started by executors would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # only the worker decides when to stop
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    log = logging.StreamHandler()
    log.setFormatter(LevelFormatter())
    logging.basicConfig(handlers=[log], level=logging.INFO)

    this = os.getpid()
    _write(answers, {"started": True})
    wanted = _read(requests)
    if wanted is None:
        return
    confine(wanted["limits"], new_privileges=wanted["new_privileges"])
    known = ProcessState(KERNEL)
    executors, refused = _load(wanted["plugin"], wanted["module"], wanted["tables"])
    _tell(known.restore(), "loading the plugin")
    known, leftovers = ProcessState(EVERYTHING), Leftovers()
    _write(answers, {"ready": True, "refused": refused})
    while (request := _read(requests)) is not None:
        allow_cpu(wanted["limits"])
        # Each attempt has its own context, so it does not see another's context variables.
        answer = contextvars.copy_context().run(executors[request["executor"]], request)
        if os.getpid() != this:
            os._exit(1)  # a fork that escaped from an executor must not answer for its parent
        with contextlib.suppress(Exception):
            sys.stdout.flush()  # so that the attempt's output is logged as its own
        _write(answers, answer)
        # Only now, after the answer: the client need not wait for it.
        tidy = _tidy(known, leftovers)
        _write(answers, {"tidy": tidy})
        if not tidy:
            return


def _tidy(known: ProcessState, leftovers: Leftovers) -> bool:
    """Undo what an attempt did to this process; return whether it can serve another attempt."""
    try:
        killed = leftovers.end()
        changed = known.restore() + (["processes"] if killed else [])
        if killed:
            logger.info("killed %d processes that the attempt left behind", killed)
        _tell(changed, "the attempt")
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - a handler set by the attempt can raise anything
        logger.info("cannot restore this process after the attempt: %r", error)
        changed = ["everything"]
    return not changed


def _tell(changed: Sequence[str], culprit: str) -> None:
    if changed:
        logger.info("%s changed this process permanently: %s", culprit, ", ".join(changed))


def _load(
    plugin: str, module: str, tables: Mapping[str, Mapping[str, Any] | None]
) -> tuple[dict[str, Call], dict[str, str]]:
    """The function for each executor in `tables`, and why the others are unavailable."""
    calls: dict[str, Call] = {}
    refused: dict[str, str] = {}
    try:
        executors = load(plugin, module)
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
        return {}, dict.fromkeys(tables, f"plugin {plugin!r} cannot be loaded: {evidence(error)}")
    for name, table in tables.items():
        if name not in executors:
            refused[name] = f"plugin {plugin!r} no longer registers {name!r}"
            continue
        try:
            config = configured(executors[name], table, table_name(name))
        except BadConfiguration as error:
            refused[name] = str(error)[:MAX_DETAIL]
        else:
            calls[name] = _caller(executors[name], config)
    return calls, refused


def _caller(executor: Executor, config: Any) -> Call:
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
    """The next message; None at the end of the pipe."""
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
    os._exit(0)  # the worker is gone: an executor's threads must not keep this process alive
