"""The guardian: a small process beside each worker that kills attempts when the worker cannot.

A worker that is dead, stopped or stuck cannot stop its attempts, and its tasks are about to be
given to another. The worker therefore registers the process groups of its attempts with the
guardian, which kills them when the worker is gone or its lease has expired. The lease ends at the
time until which the worker knows that its ZooKeeper session is alive.

The two exchange lines over a socket pair. To the guardian: `watch GROUP`, `forget GROUP`,
`lease UNTIL`. From the guardian: `killed GROUP`, written before the kill, so that a process that
finds the group dead can also see why. Times are of the monotonic clock, which all processes of a
machine share. This file is run by its path and imports only the standard library: the guardian
starts quickly, and no installed package can break it.
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
    """The worker's side. Every method can be called from any thread, and none blocks for long.

    A guardian that has died, or does not read its input, is replaced at the next call by a new one
    that gets the full state.
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
        """Start the guardian's process unless it is running."""
        with self._lock:
            if not self._alive():
                self._spawn()

    @property
    def alive(self) -> bool:
        """Whether the guardian's process is running."""
        with self._lock:
            return self._alive()

    @property
    def pid(self) -> int | None:
        """The process id of the guardian's process; None if it is not running."""
        with self._lock:
            return self._process.pid if self._process is not None and self._alive() else None

    def extend(self, until: float) -> None:
        """Let attempts run until `until`, in seconds of `time.monotonic()`.

        After that, every watched group is killed, and so is each new one, until a later lease is
        given. Before the first lease there is no limit.
        """
        with self._lock:
            self._lease = until
            self._tell(f"lease {until!r}\n")

    def watch(self, group: int) -> None:
        """Kill this process group when the worker cannot do so."""
        with self._lock:
            self._groups.add(group)
            self._tell(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """Stop watching this process group, and forget whether it was killed.

        Call it before the group's leader is reaped: after that, the number can be reused.
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
                self._socket.close()  # the guardian takes this for the worker's death
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
                logger.warning("the guardian does not read its input: %s", error)
            else:
                return
        self._spawn()

    def _spawn(self) -> None:
        """Start a guardian that replaces the last one, if any, and send it the full state."""
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
                    env={},  # processes of the same user can read a process's first environment
                    start_new_session=True,  # a terminal's signals are for the worker only
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
        """Discard the last guardian. It is killed before its socket closes, because it would kill
        every group when that happens."""
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
        """Kill all groups in place of a hung guardian; no number was reused yet (see forget)."""
        for group in self._groups:
            kill_group(group)

    def _listen(self) -> None:
        """Read the guardian's messages so far."""
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
    """Kill a process group, and the leader's descendants that have left the group.

    If the leader is gone, those descendants can no longer be found.
    """
    strays = descendants(group)
    with contextlib.suppress(OSError):  # the group is gone
        os.killpg(group, signal.SIGKILL)
    for pid in strays:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int, spared: Collection[int] = ()) -> set[int]:
    """The descendants of `pid`, without `spared` and their descendants."""
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
    """The guardian's own process: sleep until a message arrives or the lease expires."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker's parent may have blocked some
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after the worker, not before
    os.set_blocking(sys.stdout.fileno(), False)  # a full pipe must not keep it from killing
    groups: set[int] = set()
    lease: float | None = None
    unread = b""
    while True:
        sleep = None
        if lease is not None and groups:
            sleep = min(max(lease - time.monotonic(), 0.0), _MAX_SLEEP)
        # Messages are read before the lease is checked: a longer lease may be waiting.
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
    """The worker's messages; empty if the worker is gone."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK)
    except ConnectionResetError:  # the worker is gone, with unread messages of ours
        return b""


def _kill(groups: set[int]) -> None:
    while groups:
        group = groups.pop()
        with contextlib.suppress(OSError):  # the worker is gone, or not reading
            os.write(sys.stdout.fileno(), b"killed %d\n" % group)
        kill_group(group)


if __name__ == "__main__":
    main()
