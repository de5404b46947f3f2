"""Named steps at which a test can make a process kill or stop itself.

`MWCTL_FAILPOINT=NAME[:kill|stop][:N]` triggers at the N-th time (default 1) that the step NAME is
reached. Without that variable a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "MWCTL_FAILPOINT"

_ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class _Armed:
    """The failpoint this process was started with, if any."""

    def __init__(self, text: str) -> None:
        name, _, rest = text.partition(":")
        action, _, count = rest.partition(":")
        self.name = name
        self.signal = _ACTIONS[action or "kill"]
        self.left = int(count or 1)


_armed: Final = _Armed(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Kill or stop this process if it was started with this failpoint."""
    if name == _armed.name:
        _armed.left -= 1
        if _armed.left == 0:
            os.kill(os.getpid(), _armed.signal)
