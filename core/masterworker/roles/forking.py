"""Which process this is: what was made before a fork cannot be used after it.

A process that is forked has copies of all objects and none of the threads that work for them. A
submission would wait there for ever, and a lock that was held at that moment is never released. So
clients and futures remember where they were made.
"""

from __future__ import annotations

import os

from ..words.errors import ClientForked

process = os.getpid()
"""The id of this process. A system call less, wherever every task passes by."""


def _in_child() -> None:
    global process
    process = os.getpid()


os.register_at_fork(after_in_child=_in_child)


def forked(what: str, made_in: int) -> ClientForked:
    """The error for something that was made in another process than this one."""
    return ClientForked(
        f"{what} was made in process {made_in} and cannot be used in process {process}, which was "
        "forked from it: make the Client after the fork, one in each process"
    )
