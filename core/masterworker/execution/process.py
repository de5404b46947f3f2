"""One child process as its worker sees it: started, given one request at a time, killed.

The child leads a process group of its own, and signals go to the group, so that processes that an
executor leaves there end with the child. Its death is detected through a pidfd, and not only by the
end of a pipe, which a process that it forked may hold open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from ..words import limits
from ..words.evidence import evidence
from ..words.model import Reason
from . import frames
from .guardian import Guardian, kill_group
from .output import ChildOutput
from .sandbox import User

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
"""Seconds that a child may take to start and to load its plugin."""

TIDY_SECONDS: Final = 10.0
"""Seconds that a child may take to undo what an attempt left behind."""

DEATH_SECONDS: Final = 5.0
"""Seconds to wait until a killed process is gone; an uninterruptible system call can delay it."""

_MODULE: Final = "masterworker.execution.child"
_SIGNALS: Final = {number.value: number.name for number in signal.Signals}
_GROUP_SECONDS: Final = 0.5  # from a leader's death to that of the others in its group
_EXIT_SECONDS: Final = 1.0  # from the end of a dying child's pipe to its death
_MAX_POLL: Final = 3_600.0  # seconds; poll refuses what exceeds a C int of milliseconds
_CHUNK: Final = 65_536  # bytes


class ChildEnded(Exception):
    """The child died without answering. `interrupted`: the guardian killed it."""

    def __init__(self, reason: Reason, detail: str, *, interrupted: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.interrupted = interrupted


class _Broken(Exception):
    """The child is dead, or no longer follows the protocol; then the message says how."""


class ChildProcess:
    """A child process. It belongs to one thread; only `kill` and `gone` are for other threads."""

    def __init__(
        self,
        environment: Mapping[str, str],
        guardian: Guardian,
        user: User | None = None,
        key_id: str = "",
    ) -> None:
        """Start it, as `user` if given; call `greet` next.

        The output of a child for tasks sealed with the key `key_id` is not logged. Raises OSError
        or RuntimeError if resources are exhausted.
        """
        self.asked = 0
        self.key_id = key_id
        self.plugin = ""
        self.started = False
        self.refused: dict[str, str] = {}
        self.gone = threading.Event()
        self.stopped = False
        self._untidy = False  # from a request until all traces of it are undone
        self._killed = False
        self._reaped = False
        self._interrupted = False  # by the guardian
        self._lock = threading.Lock()
        self._guardian = guardian
        with contextlib.ExitStack() as undo:
            requests, self._requests = _pipe(undo)
            self._answers, answers = _pipe(undo)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(requests), str(answers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=(requests, answers),
                env=environment,
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=() if user else None,
            )
            undo.enter_context(self._process)
            undo.callback(self._process.kill)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._pidfd)
            self._output = ChildOutput(self._process.stdout, self._pidfd, quiet=bool(key_id))
            undo.pop_all()
        os.close(requests)
        os.close(answers)
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        self._death = _poll(self._pidfd)
        guardian.watch(self.pid)

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it is alive and can take another request."""
        return not (self._killed or self._death.poll(0))

    def greet(self, plugin: str, hello: bytes) -> None:
        """Let it load `plugin`, as `hello` says, and wait until it is ready. Raises ChildEnded.

        Afterwards `refused` has the executors it cannot run, with the reasons. `started` is false
        if it ended before our own code ran in it, and `stopped` true if `kill` was called.
        """
        deadline = time.monotonic() + START_SECONDS
        late = ChildEnded(Reason.FAILED, f"not ready within {START_SECONDS:g} s")
        self.plugin = plugin
        self._exchange(b"", START_SECONDS, late)
        self.started = True
        ready = self._exchange(hello, deadline - time.monotonic(), late, limits.MAX_EXECUTORS)
        self.refused = ready.get("refused", {})

    def ask(self, request: bytes, limit: float | None, subject: str) -> dict[str, Any]:
        """The answer to a request, within `limit` seconds. Raises ChildEnded.

        `subject` identifies the child's output in the log. Call `tidy` before the next request.
        """
        self.asked += 1
        self._untidy = True
        self._output.begin(subject)
        late = ChildEnded(
            Reason.TIMED_OUT, f"no result within its time limit of {limit or 0.0:g} s"
        )
        return self._exchange(request, limit, late)

    def tidy(self) -> bool:
        """Wait until it has undone what the last request left behind, for at most TIDY_SECONDS.

        Returns whether it can take another request. Otherwise call `end`.
        """
        if self._killed:
            return False
        if not self._untidy:
            return True
        try:
            told = self._next_message(time.monotonic() + TIDY_SECONDS)
        except (_Broken, OSError, frames.BadFrame):  # TimeoutError is an OSError
            return False
        self._output.end()
        self._untidy = False
        return told == {"tidy": True}

    def kill(self) -> None:
        """Kill the process group at once, without waiting. Any thread can call it."""
        self.stopped = True
        self._kill()

    def _kill(self) -> None:
        with self._lock:
            self._killed = True
            if not self._reaped:
                kill_group(self.pid)

    def end(self) -> None:
        """Kill the process group and free all resources, unless that is already done."""
        if self.gone.is_set():
            return
        self._kill()
        died = self._death.poll(DEATH_SECONDS * 1000)
        self._interrupted = self._guardian.killed(self.pid)
        self._guardian.forget(self.pid)
        with self._lock:
            self._reaped = True  # from here on its number can be reused
        if died:
            self._process.wait()
            _wait_for_group(self.pid)
            self._output.close()
            for descriptor in (self._requests, self._answers, self._pidfd):
                os.close(descriptor)
        else:
            logger.error("process %d did not die after SIGKILL and is left behind", self.pid)
        self.gone.set()

    # --- requests ---

    def _exchange(
        self,
        request: bytes,
        limit: float | None,
        late: ChildEnded,
        entries: int = frames.ANSWER_ENTRIES,
    ) -> dict[str, Any]:
        deadline = None if limit is None else time.monotonic() + limit
        try:
            self._send(request, deadline)
            return self._next_message(deadline, entries)
        except TimeoutError:
            self.end()
            ended = late
        except (_Broken, OSError, frames.BadFrame) as broken:
            itself = bool(self._death.poll(_EXIT_SECONDS * 1000))
            self.end()
            how = self._how_it_died() if itself else f"it violated the protocol: {broken}"
            ended = ChildEnded(Reason.CRASHED, how)
        if self._interrupted:
            detail = "stopped by the guardian: the worker had not heard from ZooKeeper for too long"
            raise ChildEnded(Reason.LOST, detail, interrupted=True)
        raise ChildEnded(ended.reason, evidence(ended.detail, self._output.tail()))

    def _send(self, data: bytes, deadline: float | None) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                if self._wait(self._requests, select.POLLOUT, deadline):
                    raise _Broken("it died") from None

    def _next_message(
        self, deadline: float | None, entries: int = frames.ANSWER_ENTRIES
    ) -> dict[str, Any]:
        prefix = self._receive(frames.LENGTH.size, deadline)
        return frames.unpack(self._receive(frames.length(prefix), deadline), entries)

    def _receive(self, size: int, deadline: float | None) -> bytes:
        data = bytearray()
        dead = False
        while len(data) < size:
            try:
                part = os.read(self._answers, min(size - len(data), _CHUNK))
            except BlockingIOError:
                if dead:
                    raise _Broken("it died") from None
                # Its last output may have arrived just before its death: read once more.
                dead = self._wait(self._answers, select.POLLIN, deadline)
            else:
                if not part:
                    raise _Broken("it closed its pipe")
                data += part
        return bytes(data)

    def _wait(self, descriptor: int, event: int, deadline: float | None) -> bool:
        """Wait until `descriptor` is ready or the child is dead; return whether it is dead."""
        left = _MAX_POLL if deadline is None else deadline - time.monotonic()
        poll = _poll(self._pidfd)
        poll.register(descriptor, event)
        ready = dict(poll.poll(min(max(left, 0.0), _MAX_POLL) * 1000))
        if not ready and deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError
        return self._pidfd in ready

    def _how_it_died(self) -> str:
        code = self._process.returncode
        if code >= 0:
            return f"exit code {code}"
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, but not by its worker: check dmesg for an out-of-memory kill"
        return f"killed by {_SIGNALS.get(-code, f'signal {-code}')}"


def _wait_for_group(group: int) -> None:
    """Wait, for a limited time, until a killed group whose leader was reaped is empty.

    No event reports that. If no process reaps orphans, zombies keep the group in existence.
    """
    deadline = time.monotonic() + _GROUP_SECONDS
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.001)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    """The reading and the writing end of a new pipe."""
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _poll(pidfd: int) -> select.poll:
    """A poll that reports the death of a child."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return poll
