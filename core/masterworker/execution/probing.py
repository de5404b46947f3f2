"""The probe process: `python -m masterworker.execution.probing ANSWERS`.

It reads one request from its stdin, finds the installed plugins, and loads each in a fork of its
own, so that a plugin can harm only its own process. A fork answers on its own pipe; its output is
kept only as evidence. After its answer, its death or its time limit, it is killed with all
processes that the plugin started. The probe process itself imports no plugin and starts no thread,
which makes forking safe. When its stdin ends, no process waits for the answers any more: it kills
all of its forks and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Final

from ..words.executor import Executor
from ..words.limits import MAX_EXECUTORS, MAX_TEXT
from . import frames, prctl
from .configuration import refusal
from .finding import Found, find
from .leftovers import kill_descendants
from .loading import evidence, load
from .process_state import reset_signals
from .sandbox import confine

MAX_ANSWER: Final = 256 * 1024
"""Maximum bytes of a fork's answer: enough for MAX_EXECUTORS executors."""

MAX_PRINTED: Final = 500
"""Bytes kept from the end of a plugin's output."""

DEATH_SECONDS: Final = 5.0
"""Seconds to wait until a killed fork is gone."""

_CHUNK: Final = 65_536
_STDIN: Final = 0
_ANSWERS: Final = 3
"""The descriptor on which a fork answers."""


def main(answers: int) -> None:
    """Probe the requested plugins, and send the result of each."""
    os.set_inheritable(answers, False)
    prctl.adopt_orphans()  # those of a dead fork
    reset_signals()  # with SIGCHLD ignored, no fork could be waited for
    request = _read_request()
    found = find()
    _tell(answers, {"found": [list(one) for one in found]})
    only = request["only"]
    waiting = deque(
        (number, one)
        for number, one in enumerate(found)
        if one.module and (only is None or one.name in only)
    )
    running: dict[int, _Fork] = {}
    try:
        while waiting or running:
            while waiting and len(running) < request["parallel"]:
                number, one = waiting.popleft()
                running[number] = _Fork(one, request)
            if running and _wait(running.values()):
                return
            for number, fork in list(running.items()):
                if fork.over:
                    del running[number]
                    result = fork.end()
                    kill_descendants({other.pid for other in running.values()})
                    _tell(answers, {"number": number} | result)
    finally:
        for fork in running.values():
            fork.end()
        kill_descendants(())


def _read_request() -> dict[str, Any]:
    (size,) = frames.LENGTH.unpack(_read_exactly(frames.LENGTH.size))
    return frames.unpack(_read_exactly(size))


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(_STDIN, size - len(data))
        if not part:
            os._exit(1)
        data += part
    return data


def _tell(descriptor: int, message: Mapping[str, Any]) -> None:
    left = memoryview(frames.pack(message))
    while left:
        left = left[os.write(descriptor, left) :]


def _wait(forks: Collection[_Fork]) -> bool:
    """Wait until a fork has output or its time is over; return whether the parent is gone."""
    poll = select.poll()
    poll.register(_STDIN, select.POLLIN)
    for fork in forks:
        for descriptor in fork.descriptors:
            poll.register(descriptor, select.POLLIN)
    left = min(fork.deadline for fork in forks) - time.monotonic()
    ready = dict(poll.poll(max(0.0, left) * 1000 + 1))
    for fork in forks:
        fork.hear(ready)
    return _STDIN in ready


class _Fork:
    """A fork of this process that loads one plugin, and its output so far."""

    def __init__(self, found: Found, request: Mapping[str, Any]) -> None:
        self._seconds = request["seconds"]
        self.deadline = time.monotonic() + self._seconds
        self.over = False
        self._dead = False
        self._answer = b""
        self._printed = b""
        self._answers, answers = os.pipe()
        self._output, output = os.pipe()
        this = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_fork(this, found, request, answers, output)
        with contextlib.suppress(OSError):  # it has done so itself, or is gone
            os.setpgid(self.pid, self.pid)
        self._pidfd = os.pidfd_open(self.pid)
        for descriptor in (answers, output):
            os.close(descriptor)
        self.descriptors = {self._answers, self._output, self._pidfd}
        for descriptor in (self._answers, self._output):
            os.set_blocking(descriptor, False)

    def hear(self, ready: Mapping[int, int]) -> None:
        """Read its output, and check whether it is finished."""
        self._dead = self._pidfd in ready
        if self._output in ready:
            self._printed = (self._printed + self._read(self._output))[-MAX_PRINTED:]
        if self._answers in ready or self._dead:
            self._answer += self._read(self._answers)
        self.over = (
            self._dead
            or self._is_answered
            or len(self._answer) > MAX_ANSWER
            or time.monotonic() >= self.deadline
        )

    def end(self) -> dict[str, Any]:
        """Kill it with its process group, and return its result."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(DEATH_SECONDS * 1000)
        _, status = os.waitpid(self.pid, os.WNOHANG)
        if self._output in self.descriptors:
            self._printed = (self._printed + self._read(self._output))[-MAX_PRINTED:]
        for descriptor in (self._answers, self._output, self._pidfd):
            os.close(descriptor)
        printed = " ".join(self._printed.decode(errors="replace").split())
        if self._is_answered:
            return {"answer": self._answer[frames.LENGTH.size :], "printed": printed}
        if len(self._answer) > MAX_ANSWER:
            broken = f"its process answered with more than {MAX_ANSWER:,} bytes"
        elif self._dead:
            broken = f"its process ended while the plugin was loaded: {_how(status)}"
        else:
            broken = f"the plugin was not loaded within {self._seconds:g} s"
        return {"broken": broken, "printed": printed}

    @property
    def _is_answered(self) -> bool:
        size = frames.LENGTH.size
        if len(self._answer) < size:
            return False
        return len(self._answer) - size >= int.from_bytes(self._answer[:size], "big")

    def _read(self, descriptor: int) -> bytes:
        """The available output; at the end of the pipe, it is no longer polled."""
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return b""
        if not chunk:
            self.descriptors.discard(descriptor)
        return chunk


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-code, f'signal {-code}')}"


# --- in a fork -----------------------------------------------------------------------------------


def _be_the_fork(
    parent: int, found: Found, request: Mapping[str, Any], answers: int, output: int
) -> None:
    """Load the plugin, answer, and end. Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        prctl.adopt_orphans()  # so that what the plugin starts stays below this process
        prctl.die_with_parent()
        if os.getppid() != parent:
            return
        _take_descriptors(answers, output)
        confine(request["limits"], new_privileges=request["new_privileges"])
        this = os.getpid()
        answer = _report(found, request["tables"])
        if os.getpid() == this:  # a fork that escaped from the plugin must not answer for us
            _tell(_ANSWERS, answer)
            code = 0
    except BaseException:  # noqa: BLE001 - it is only evidence
        traceback.print_exc()
    finally:
        os._exit(code)  # even if the plugin has started threads


def _take_descriptors(answers: int, output: int) -> None:
    """Keep an empty stdin, a captured output and the pipe for the answer, and close the rest."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    moved = [os.dup(one) for one in (nothing, output, output, answers)]
    for target, source in enumerate(moved):
        os.dup2(source, target, inheritable=target < _ANSWERS)
    os.closerange(_ANSWERS + 1, os.sysconf("SC_OPEN_MAX"))


def _report(found: Found, tables: Mapping[str, Any]) -> dict[str, Any]:
    try:
        executors = load(found.name, found.module)
        if len(executors) > MAX_EXECUTORS:
            raise ValueError(
                f"{len(executors)} executors; a plugin can register at most {MAX_EXECUTORS}"
            )
        return {"executors": [_row(one, tables) for one in executors.values()]}
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
        return {"broken": evidence(error)}


def _row(executor: Executor, tables: Mapping[str, Any]) -> list[Any]:
    """What a worker must know of an executor: see `Offer`."""
    refused = ""
    if executor.name in tables and not executor.inline:  # the worker asks inline ones itself
        table, where = tables[executor.name]
        refused = refusal(executor, table, where)[: 4 * MAX_TEXT]
    limit = executor.time_limit
    return [
        executor.name,
        executor.inline,
        None if limit is None else float(limit),
        executor.attempts,
        refused,
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
