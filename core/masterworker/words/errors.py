"""Every error masterworker raises on purpose, each with the exit code `mwctl` ends with.

An error carries its evidence in its message: which task, znode or plugin, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from .model import Attempt

ErrorT = TypeVar("ErrorT", bound="MasterworkerError")


class MasterworkerError(Exception):
    """The base of all errors below. `exit_code` is what `mwctl` exits with when it ends on one.

    All of them survive pickle and copy, and so a pool of processes, with message and attributes.
    """

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """By its parts: an exception's own way calls its class with the message alone."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[ErrorT], arguments: tuple[object, ...], attributes: dict[str, Any]
) -> ErrorT:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class TaskFailed(MasterworkerError):
    """A task ended without a result.

    `task_id` names it, `reason` is one of `failed`, `crashed`, `timed_out`, `out_of_memory`, `lost`
    or `expired`, `attempts` is the history of its attempts, oldest first.
    """

    exit_code = 3

    def __init__(self, task_id: str, reason: str, attempts: tuple[Attempt, ...] = ()) -> None:
        self.task_id = task_id
        self.reason = reason
        self.attempts = attempts
        last = attempts[-1] if attempts else None
        where = f" on worker {last.worker}" if last else ""
        detail = f": {last.detail}" if last and last.detail else ""
        super().__init__(f"task {task_id} {reason.replace('_', ' ')}{where}{detail}")


class AttemptFailed(MasterworkerError):
    """Raised by an executor whose message says all there is to say about the failure.

    The attempt has then failed with that message as its evidence, and without a traceback.
    """

    exit_code = 3


class TaskCancelled(MasterworkerError):
    """A task was cancelled before it had a result."""

    exit_code = 4


class Refused(MasterworkerError):
    """The request was understood and will not be carried out: it breaks a stated limit."""

    exit_code = 5


class PayloadTooLarge(Refused):
    """A payload or a result does not fit into one znode."""


class NotFound(MasterworkerError):
    """There is no such task, worker or znode."""

    exit_code = 6


class NotFinished(MasterworkerError):
    """A task has no result yet."""

    exit_code = 7


class Unavailable(MasterworkerError):
    """ZooKeeper, or the cluster behind it, could not be reached in time."""

    exit_code = 69


class NotTrusted(Unavailable):
    """ZooKeeper and we do not trust each other's certificates.

    A role that already runs goes on trying, since certificates are replaced.
    """

    exit_code = 77


class ClientClosed(Unavailable):
    """The client was closed before the task's status arrived.

    `accepted` says what became of the task: True if it was accepted, and goes on; False if it was
    not, and will never run; None if that is not known. `mwctl tasks show ID` looks at it.
    """

    def __init__(self, message: str, accepted: bool | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted


class ClientForked(ClientClosed):
    """The client was made before this process was forked from its own, and cannot be used here.

    Make a client in each process, after the fork.
    """


class NotAuthorized(MasterworkerError):
    """ZooKeeper refused the credentials, or they do not suffice for the request."""

    exit_code = 77


class SealBroken(MasterworkerError):
    """What is sealed does not open: it was altered, or sealed with another key."""


class BadConfiguration(MasterworkerError):
    """Something the operator set is wrong: an option, a configuration file, a plugin."""

    exit_code = 78


class BadName(BadConfiguration, ValueError):
    """A task, worker, client or executor name that cannot stand in a znode path or a record."""


class BadRecord(MasterworkerError):
    """A znode's data claims to be one of our records and is not. The znode is left alone."""


class FutureRecord(BadRecord):
    """A record of a format version newer than this program knows. The znode is left alone."""


class IllegalTransition(MasterworkerError):
    """A task was asked to make a move that its life does not have. Always a defect of ours."""


class SessionLost(MasterworkerError):
    """The ZooKeeper session is over. Its owner starts again with a new one."""


class ConnectionLost(MasterworkerError):
    """The connection broke while a request was under way: it may or may not have been carried out.

    Do not repeat a write on this error: read first.
    """


class Fenced(MasterworkerError):
    """A newer master holds office. Every further write of this one is refused."""
