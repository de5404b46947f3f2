"""The guardian: a small process beside each worker that kills attempts when the worker cannot.

A worker that is dead, stopped or stuck cannot stop its attempts, and its tasks are about to be
given to another. So the process groups of its attempts are made known to the guardian, which kills
them when the worker is gone, or when the worker's lease has ended: the time until which the worker
knows its ZooKeeper session to be alive.

The two talk in lines over a socket pair. To the guardian: `watch GROUP`, `forget GROUP`,
`lease UNTIL`. From it: `killed GROUP`, written before the kill, so that whoever sees the group
dead can also see why. Times are those of the monotonic clock, which all processes of a machine
share. This file is run by its path and imports the standard library only: the guardian starts at
once, and nothing installed can break it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_CHUNK: Final = 65_536
_TELL_ALL_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 2.0
_MAX_SLEEP: Final = 3_600.0  # seconds; select refuses numbers beyond a C long


class Guardian:
    """The worker's side. Every method may be called from any thread, and none waits for long.

    A guardian that has died, or does not read what it is told, is replaced at the next call by a
    new one that is told everything.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._groups: set[int] = set()
        self._killed: set[int] = set()
        self._lease: float | None = None
        self._unread = b""
        self._closed = False

    def start(self) -> None:
        """Start the guardian's process unless it runs."""
        with self._lock:
            if not self._alive():
                self._spawn()

    @property
    def alive(self) -> bool:
        """Whether the guardian's process runs."""
        with self._lock:
            return self._alive()

    @property
    def pid(self) -> int | None:
        """The process id of the guardian's process, None if it does not run."""
        with self._lock:
            return self._process.pid if self._process is not None and self._alive() else None

    def extend(self, until: float) -> None:
        """Let attempts run until `until`, in seconds of `time.monotonic()`.

        After that every group watched is killed, and so is each that is added, until a later lease
        is given. As long as none was ever given there is no limit.
        """
        with self._lock:
            self._lease = until
            self._tell(f"lease {until!r}\n")

    def watch(self, group: int) -> None:
        """Kill this process group when the worker cannot."""
        with self._lock:
            self._groups.add(group)
            self._tell(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """Leave this process group alone, and forget whether it was killed.

        To be called before its leader is reaped: from then on the number can be another's.
        """
        with self._lock:
            self._groups.discard(group)
            self._killed.discard(group)
            self._tell(f"forget {group}\n")

    def killed(self, group: int) -> bool:
        """Whether the guardian killed this process group."""
        with self._lock:
            self._listen()
            return group in self._killed

    def close(self) -> None:
        """End the guardian's process; it kills the groups that are still watched. Final."""
        with self._lock:
            self._closed = True
            process = self._process
            if self._socket is not None:
                self._socket.close()  # the guardian takes it for the worker's death
            if process is not None:
                try:
                    process.wait(_CLOSE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    self._kill_all()

    # --- with the lock held ---

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _tell(self, line: str) -> None:
        if self._closed:
            return
        if self._socket is not None and self._alive():
            try:
                self._socket.sendall(line.encode())
            except OSError as error:
                logger.warning("the guardian does not listen: %s", error)
            else:
                return
        self._spawn()

    def _spawn(self) -> None:
        """Start a guardian in place of the last one, if any, and tell it everything."""
        if self._closed:
            return
        self._bury()
        try:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env={},  # a process of the same user could read what it was started with
                    start_new_session=True,  # what a terminal stops or interrupts is the worker
                )
            lines = [f"watch {group}\n" for group in self._groups]
            if self._lease is not None:
                lines.append(f"lease {self._lease!r}\n")
            self._socket.settimeout(_TELL_ALL_SECONDS)
            self._socket.sendall("".join(lines).encode())
            self._socket.setblocking(False)
        except OSError as error:
            logger.error("attempts are not guarded: cannot start the guardian: %s", error)
            self._bury()

    def _bury(self) -> None:
        """Let go of the last guardian. It is killed before its socket closes: at that it would
        kill every group."""
        self._listen()
        if self._process is not None:
            logger.warning("replacing the guardian, process %d", self._process.pid)
            self._process.kill()
            self._process.wait()
        if self._socket is not None:
            self._socket.close()
        self._process = self._socket = None
        self._unread = b""

    def _kill_all(self) -> None:
        """Do what a guardian that hangs did not; no group's number is another's yet: see forget."""
        for group in self._groups:
            kill_group(group)

    def _listen(self) -> None:
        """Take note of what the guardian has said so far."""
        while self._socket is not None:
            try:
                chunk = self._socket.recv(_CHUNK)
            except OSError:
                return
            if not chunk:
                return
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            killed = {int(line.split()[1]) for line in lines}
            self._groups -= killed
            self._killed |= killed


def kill_group(group: int) -> None:
    """Kill a process group, and what its leader has below it that left the group.

    Where the leader is gone, so is the knowledge of what left the group.
    """
    strays = descendants(group)
    with contextlib.suppress(OSError):  # the group is gone
        os.killpg(group, signal.SIGKILL)
    for pid in strays:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int, spared: Collection[int] = ()) -> set[int]:
    """The processes below `pid`, without `spared` and what is below those."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop()) - found - set(spared)
        found |= children
        waiting += children
    return found


def _children(pid: int) -> set[int]:
    children: set[int] = set()
    with contextlib.suppress(OSError):  # it or one of its threads is gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children.update(map(int, (thread / "children").read_bytes().split()))
    return children


def main() -> None:
    """The guardian's own process: sleep until told something or until the lease has ended."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker's parent may have blocked some
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when the worker has gone, not before
    os.set_blocking(sys.stdout.fileno(), False)  # telling must not keep it from killing
    groups: set[int] = set()
    lease: float | None = None
    unread = b""
    while True:
        sleep = None
        if lease is not None and groups:
            sleep = min(max(lease - time.monotonic(), 0.0), _MAX_SLEEP)
        # What was said is read before the lease is judged: a longer one may be waiting.
        if select.select([sys.stdin], [], [], sleep)[0]:
            chunk = _hear()
            if not chunk:
                _kill(groups)
                return
            *lines, unread = (unread + chunk).split(b"\n")
            for line in lines:
                word, number_text = line.split()
                if word == b"lease":
                    lease = float(number_text)
                elif word == b"watch":
                    groups.add(int(number_text))
                else:
                    groups.discard(int(number_text))
        if lease is not None and time.monotonic() >= lease:
            _kill(groups)


def _hear() -> bytes:
    """What the worker has said; nothing if it is gone."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK)
    except ConnectionResetError:  # gone, and it left something of ours unread
        return b""


def _kill(groups: set[int]) -> None:
    while groups:
        group = groups.pop()
        with contextlib.suppress(OSError):  # the worker is gone, or not reading
            os.write(sys.stdout.fileno(), b"killed %d\n" % group)
        kill_group(group)


if __name__ == "__main__":
    main()
