"""All errors that masterworker raises deliberately, each with its `mwctl` exit code.

Every message names the task, znode or plugin concerned, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from .model import Attempt

ErrorT = TypeVar("ErrorT", bound="MasterworkerError")


class MasterworkerError(Exception):
    """The base class of all errors below. `exit_code` is the exit code of `mwctl` for this error.

    All errors can be pickled and copied, so they keep message and attributes across processes.
    """

    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Restore all attributes. The default would call the class with only the message."""
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

    `task_id` is the task's id. `reason` is `failed`, `crashed`, `timed_out`, `out_of_memory`,
    `lost` or `expired`. `attempts` are its attempts, oldest first.
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
    """Raise this in an executor to fail the attempt with this message as its only evidence.

    No traceback is recorded.
    """

    exit_code = 3


class TaskCancelled(MasterworkerError):
    """A task was cancelled before it had a result."""

    exit_code = 4


class Refused(MasterworkerError):
    """The request was rejected because it exceeds a documented limit."""

    exit_code = 5


class PayloadTooLarge(Refused):
    """A payload or result does not fit into one znode."""


class NotFound(MasterworkerError):
    """The task, worker or znode does not exist, or no longer exists."""

    exit_code = 6


class NotFinished(MasterworkerError):
    """A task has no result yet."""

    exit_code = 7


class Unavailable(MasterworkerError):
    """ZooKeeper or the cluster could not be reached in time."""

    exit_code = 69


class NotTrusted(Unavailable):
    """TLS failed: the client or the server does not trust the other's certificate.

    A running role keeps trying, because certificates may be replaced.
    """

    exit_code = 77


class ClientClosed(Unavailable):
    """The client was closed before the task's status arrived.

    `accepted` is True if the task was accepted and continues to run, False if it was not accepted
    and will never run, and None if this is unknown. To check the task, use `mwctl tasks show ID`.
    """

    def __init__(self, message: str, accepted: bool | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted


class ClientForked(ClientClosed):
    """The client was created before a fork and cannot be used in the child process.

    Create a client in each process, after the fork.
    """


class NotAuthorized(MasterworkerError):
    """ZooKeeper rejected the credentials, or they do not permit the request."""

    exit_code = 77


class SealBroken(MasterworkerError):
    """Decryption failed: the data was altered, or encrypted with another key."""


class BadConfiguration(MasterworkerError):
    """An option, a configuration file or a plugin is invalid."""

    exit_code = 78


class BadName(BadConfiguration, ValueError):
    """A task, worker, client or executor name is invalid in a znode path or a record."""


class BadRecord(MasterworkerError):
    """A znode has the mark of a masterworker record, but is malformed. It is left unchanged."""


class FutureRecord(BadRecord):
    """A record has a newer format version than this program supports. It is left unchanged."""


class IllegalTransition(MasterworkerError):
    """A task cannot make this state transition. This is always a bug in masterworker."""


class SessionLost(MasterworkerError):
    """The ZooKeeper session has ended. Its owner starts over with a new session."""


class ConnectionLost(MasterworkerError):
    """The connection was lost during a request, which may or may not have been executed.

    Do not repeat a write after this error without reading first.
    """


class Fenced(MasterworkerError):
    """A newer master is the primary. All further writes of this master are rejected."""
