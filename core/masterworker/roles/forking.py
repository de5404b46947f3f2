"""Detects use after a fork: objects created before a fork cannot be used in the child process.

A forked process has copies of all objects but none of the threads that work for them. A submission
would wait there forever, and a lock held at the time of the fork would never be released. Clients
and futures therefore remember the process that created them.
"""

from __future__ import annotations

import os

from ..words.errors import ClientForked

process = os.getpid()
"""The id of this process, cached to save a system call for every task."""


def _in_child() -> None:
    global process
    process = os.getpid()


os.register_at_fork(after_in_child=_in_child)


def forked(what: str, made_in: int) -> ClientForked:
    """The error for an object that was created in another process."""
    return ClientForked(
        f"{what} was created in process {made_in} and cannot be used in process {process}, which "
        "was forked from it: create a Client in each process, after the fork"
    )
