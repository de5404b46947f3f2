"""Runs a command from the operator's allow-list: the payload is its stdin, its stdout the result.

    [executors.command.allow]
    gzip = ["gzip", "--stdout"]
    words = ["/usr/bin/wc", "-w"]

A task selects one by its option `command`, which it can omit if only one is allowed. No shell is
involved, and no part of the command line comes from the task. The result is complete when the
command itself ends; processes that it leaves running are killed with the attempt.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, Self

from masterworker import AttemptFailed, Register, TaskContext, hookimpl

MAX_RESULT = 900_000
"""Maximum size of a task's result in bytes; no more is read."""

STDERR_KEPT = 1_500
"""Bytes from the end of stderr that are included in a failure."""

CHUNK = 65_536

UNKNOWN_ENDING = "the command's exit code is unknown: a library in this process ignores SIGCHLD"

PIPE_MOST = 1 << 20
"""Maximum bytes in a pipe, unless root raised the limit."""

Allowed = dict[str, list[str]]


def configure(raw: Mapping[str, Any]) -> Allowed:
    """The command lines of the table `allow`, by name; empty by default."""
    unknown = sorted(raw.keys() - {"allow"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; the only one is the table 'allow'")
    allow = raw.get("allow", {})
    if not isinstance(allow, dict):
        raise ValueError(f"allow is {allow!r}, expected a table of name = ['program', 'argument']")
    for name, argv in allow.items():
        is_argv = isinstance(argv, list) and all(isinstance(word, str) for word in argv)
        if not is_argv or not argv or not argv[0]:
            raise ValueError(f"allow.{name} is {argv!r}, expected ['program', 'argument', ...]")
        if shutil.which(argv[0]) is None:
            raise ValueError(
                f"allow.{name}: program {argv[0]!r} was not found (PATH of child processes: "
                f"{os.environ.get('PATH', os.defpath)}): install it, or give its full path"
            )
    return allow


def command(payload: bytes, task: TaskContext) -> bytes:
    """Run the task's command with the payload as stdin, and return its stdout.

    Raises AttemptFailed.
    """
    name, argv = choose(task.options, task.config)
    with tempfile.TemporaryFile() as stdin:
        # A file, not a pipe: no writing is needed while the command's output is being read.
        stdin.write(payload)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise AttemptFailed(f"command {name!r} cannot be started: {error}") from error
        with _Ending(process) as ending:
            stdout, stderr = _collect(process, ending)
    if len(stdout) > MAX_RESULT:
        raise AttemptFailed(
            f"command {name!r} wrote more than {MAX_RESULT:,} bytes, the maximum of a result, "
            "and was killed: let it store its output elsewhere and print the location"
        )
    if ending.code != 0:
        said = stderr.decode(errors="replace").strip()
        last = f": {said.splitlines()[-1]}" if said else ""
        more = f"\nthe end of its stderr:\n{said}" if "\n" in said else ""
        raise AttemptFailed(f"command {name!r} {_ended(ending.code)}{last}{more}")
    return stdout


def choose(options: Mapping[str, str], allowed: Allowed) -> tuple[str, list[str]]:
    """The name and command line that a task selects. Raises AttemptFailed if not allowed."""
    names = ", ".join(sorted(allowed)) or "none (the worker's [executors.command.allow] is empty)"
    name = options.get("command")
    if name is None and len(allowed) == 1:
        (name,) = allowed
    if name is None:
        raise AttemptFailed(f"the task's option 'command' is missing; allowed: {names}")
    if name not in allowed:
        raise AttemptFailed(f"command {name!r:.200} is not allowed; allowed: {names}")
    return name, allowed[name]


class _Ending:
    """Waits for the end of the command itself; its children may run on and keep its output open.

    `code` is the exit code, or the negative number of the signal that ended the command.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.code = 0
        try:
            self.pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._let_go()
            raise AttemptFailed(UNKNOWN_ENDING) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the command unless it has ended, and collect its exit code."""
        with contextlib.suppress(ProcessLookupError):
            if not _is_ready(self.pidfd):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        try:
            # Not through Popen, which assumes exit code 0 if SIGCHLD is ignored.
            ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            code = 0 if ended is None else ended.si_status
            self.code = code if ended is None or ended.si_code == os.CLD_EXITED else -code
        except ChildProcessError:
            raise AttemptFailed(UNKNOWN_ENDING) from None
        finally:
            os.close(self.pidfd)
            self._let_go()

    def _let_go(self) -> None:
        self._process.returncode = self.code
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _collect(process: subprocess.Popen[bytes], ending: _Ending) -> tuple[bytes, bytes]:
    """All of stdout and the end of stderr; stops once stdout is too long for a result."""
    stdout, stderr = bytearray(), b""
    for stream, chunk in _chunks(process, ending):
        if stream is process.stderr:
            stderr = (stderr + chunk)[-STDERR_KEPT:]
            continue
        stdout += chunk
        if len(stdout) > MAX_RESULT:
            break
    return bytes(stdout), stderr


def _chunks(process: subprocess.Popen[bytes], ending: _Ending) -> Iterator[tuple[IO[bytes], bytes]]:
    """The command's output in chunks, each with its stream, until the command ends."""
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, stream)
        selector.register(ending.pidfd, selectors.EVENT_READ)
        ended = False
        while not ended:
            ready = [key for key, _ in selector.select()]
            # All output from before the end is in the pipes by now: read each once more.
            ended = any(key.fd == ending.pidfd for key in ready)
            for key in list(selector.get_map().values()) if ended else ready:
                if key.fd == ending.pidfd:
                    continue
                with contextlib.suppress(BlockingIOError):
                    chunk = os.read(key.fd, PIPE_MOST if ended else CHUNK)
                    if chunk:
                        yield key.data, chunk
                    else:
                        selector.unregister(key.fileobj)


def _is_ready(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"  # real-time signals have no name


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Register `command`."""
    register("command", command, config=configure)
