"""Child processes that die with their parent, with their output in a log file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from . import lifeline

TAIL_BYTES = 8192


def masterworker_command(*arguments: str) -> list[str]:
    """Return the argv that runs `mwctl` with `arguments` under the current Python."""
    return [sys.executable, "-m", "masterworker", *arguments]


class Startable(ABC):
    """Something that a `with` statement starts and stops."""

    @abstractmethod
    def start(self) -> None:
        """Start it."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it, even if it started only partly. Further calls have no effect."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class Process(Startable):
    """A command that can be started repeatedly, but only once at a time.

    `name` is used in messages. `env` is added to the environment of this process. Standard output
    and error are appended to the file `log`; standard input is empty. The command runs in its own
    session, so Ctrl-C at the terminal does not reach it.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        log: Path,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.env = dict(env or {})
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None
        self._lifeline: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The pid of the command."""
        return self._started.pid

    @property
    def alive(self) -> bool:
        """Whether the command is running or paused."""
        return self._popen is not None and self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run, negative for a signal; None while it runs."""
        code = self._started.poll()
        if code is not None:
            self._let_go()
        return code

    def start(self) -> None:
        """Start the command. The caller has to check whether it becomes ready."""
        if self.alive:
            raise RuntimeError(f"{self} is already running")
        self._lifeline, theirs = socket.socketpair()
        with theirs, self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", lifeline.__file__, *self.argv],
                env={**os.environ, **self.env},
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._lifeline.recv(1)  # from now on the command dies with this process

    def terminate(self) -> None:
        """Send SIGTERM to the command."""
        self._started.terminate()

    def kill(self, deadline: float = 10.0) -> None:
        """Kill the command (SIGKILL) and wait up to `deadline` seconds for its exit."""
        self._started.kill()
        self.wait(deadline)

    def pause(self) -> None:
        """Pause the command (SIGSTOP); its connections stay open.

        Waits until all of its threads have stopped.
        """
        self._started.send_signal(signal.SIGSTOP)
        if self.alive:
            with contextlib.suppress(ChildProcessError):  # another thread has already reaped it
                os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Resume a paused command (SIGCONT)."""
        self._started.send_signal(signal.SIGCONT)

    def wait(self, deadline: float) -> int:
        """Wait for the exit code. Raises TimeoutError with the last output after `deadline` s."""
        try:
            code = self._started.wait(deadline)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"{self} is still running after {deadline:g} s; its last output:\n{self.tail()}"
            ) from None
        self._let_go()
        return code

    def stop(self, grace: float = 5.0) -> None:
        """Stop the command if it runs: SIGTERM, then SIGKILL after `grace` seconds."""
        if not self.alive:
            return
        self.terminate()
        self.resume()  # a paused process handles the signal only when resumed
        try:
            self.wait(grace)
        except TimeoutError:
            self.kill()

    def evidence(self, lines: int = 30) -> str:
        """Return the end of the output, phrased as the end of a message about this process."""
        tail = self.tail(lines)
        return f"the end of its log:\n{tail}" if tail else "its log is empty"

    def tail(self, lines: int = 30) -> str:
        """Return the last `lines` lines of the output, at most 8 KiB of it."""
        try:
            with self.log.open("rb") as output:
                output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = output.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __str__(self) -> str:
        pid = f" (pid {self._popen.pid})" if self._popen else ""
        return f"process {self.name}{pid}"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise RuntimeError(f"{self} was never started")
        return self._popen

    def _let_go(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()  # this also ends the watcher of lifeline.py
