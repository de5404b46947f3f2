"""masterworker: a plugin-based task execution platform on Apache ZooKeeper.

What stands here is the public interface; plugins import nothing else. The names that need
ZooKeeper are loaded when they are first used, so that a plugin, and the child process it runs in,
never pays for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .words.errors import (
    AttemptFailed,
    BadConfiguration,
    BadName,
    ClientClosed,
    ClientForked,
    MasterworkerError,
    NotAuthorized,
    NotFound,
    NotTrusted,
    PayloadTooLarge,
    Refused,
    TaskCancelled,
    TaskFailed,
    Unavailable,
)
from .words.executor import Register, TaskContext, hookimpl
from .words.login import Credentials, Login, Tls
from .words.model import Attempt

if TYPE_CHECKING:
    from .roles.client import Client
    from .roles.future import TaskFuture

__version__: Final = "0.1.0"

__all__ = [
    "Attempt",
    "AttemptFailed",
    "BadConfiguration",
    "BadName",
    "Client",
    "ClientClosed",
    "ClientForked",
    "Credentials",
    "Login",
    "MasterworkerError",
    "NotAuthorized",
    "NotFound",
    "NotTrusted",
    "PayloadTooLarge",
    "Refused",
    "Register",
    "TaskCancelled",
    "TaskContext",
    "TaskFailed",
    "TaskFuture",
    "Tls",
    "Unavailable",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from .roles.client import Client

        return Client
    if name == "TaskFuture":
        from .roles.future import TaskFuture

        return TaskFuture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
