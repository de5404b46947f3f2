"""The future of a submitted task: a `concurrent.futures.Future` that knows its task.

It is safer than the base class in two ways. A callback that raises harms nothing else: callbacks
run on the client's thread, which serves all other futures. A future also works after a fork: the
child process gets its own lock, since the parent's may have been held at that moment, and a future
that was still waiting ends there with ClientForked.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

from ..words import records, sealing
from ..words.errors import (
    BadRecord,
    MasterworkerError,
    NotAuthorized,
    SealBroken,
    TaskFailed,
)
from ..words.model import State, Status
from ..words.sealing import Keys, Seal
from . import forking

log = logging.getLogger(__name__)

_FINISHED: Final = "FINISHED"
"""The state of a future that has ended, in `concurrent.futures`."""


class TaskFuture(Future[bytes]):
    """A task's future result.

    `result()` returns the result's bytes or raises TaskFailed with the history of its attempts;
    TaskCancelled if the task was cancelled; ClientClosed if the client was closed before the
    status arrived; ClientForked in a process that was forked meanwhile. It works with
    `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future`. `cancel()` returns False: a
    future cannot take a task back.

    The result of a sealed task is opened with `seal`, and one that does not open is an error.
    """

    def __init__(self, task_id: str, seal: Seal | None = None) -> None:
        self._process = forking.process
        super().__init__()
        self.task_id = task_id
        self._seal = seal

    @property
    def _condition(self) -> threading.Condition:
        """The condition that the base class, `wait` and `as_completed` use."""
        if self._process != forking.process:
            self._forked()
        return self._lock

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        self._lock = condition

    def _forked(self) -> None:
        """Make the future usable in this process, which was forked from the one that created it.

        No thread here will ever end it, so it ends now. Its callbacks belong to the other process.
        """
        self._lock = threading.Condition()
        if self._state != _FINISHED:
            error = forking.forked(f"the future of task {self.task_id}", self._process)
            self._exception: BaseException | None = error
            self._state = _FINISHED
        self._process = forking.process

    def __reduce__(self) -> Any:
        raise TypeError(
            "a TaskFuture cannot be sent to another process: send its task_id, and use "
            "Client.attach there"
        )

    def add_done_callback(self, fn: Callable[[Future[bytes]], object]) -> None:
        """Call `fn` with this future once it has ended: at once, if it has already.

        Otherwise it is called on the client's thread, so keep it short. An exception is logged and
        has no other effect.
        """
        super().add_done_callback(fn if self.done() else _Callback(fn))

    def cancel(self) -> bool:
        """Return False: a submitted task runs, whether or not anything waits for it."""
        return False

    def __repr__(self) -> str:
        return f"<TaskFuture {self.task_id} {self._state.lower()}>"

    def fail(self, error: BaseException) -> None:
        """End the future with an error, unless it has ended already."""
        with contextlib.suppress(InvalidStateError):
            self.set_exception(error)

    def settle(self, data: bytes) -> bool:
        """End the future with the status znode's data; return whether the data was valid."""
        try:
            status = records.decode_status(data)
            seal = self._seal_for(status)
            result, history = records.body(data), status.history
            if seal is not None:
                result = seal.open_result(result) if status.state is State.DONE else b""
                history = seal.open_history(history)
            elif status.sealed:
                history = sealing.conceal(history, status.sealed)
        except BadRecord as error:
            self.fail(
                MasterworkerError(
                    f"the status of task {self.task_id} is not a valid record: {error}"
                )
            )
            return False
        except (SealBroken, NotAuthorized) as error:
            self.fail(error)
            return False
        if status.state is State.DONE:
            with contextlib.suppress(InvalidStateError):  # the client was closed meanwhile
                self.set_result(result)
        else:
            reason = status.reason.value if status.reason else "failed"
            self.fail(TaskFailed(self.task_id, reason, history))
        return True

    def _seal_for(self, _status: Status) -> Seal | None:
        """The seal that opens the result of this status; None if it is not sealed."""
        return self._seal


class AttachedFuture(TaskFuture):
    """The future of a task that another process submitted.

    Only its status tells how it was sealed. With `keys`, it must be sealed with one of them, as a
    client with keys requires of its own tasks.
    """

    def __init__(self, task_id: str, keys: Keys | None) -> None:
        super().__init__(task_id)
        self._keys = keys

    def follow(self, other: TaskFuture) -> None:
        """End like `other`, which waits for the same task."""
        other.add_done_callback(self._copy)

    def _copy(self, other: Future[bytes]) -> None:
        error = other.exception()
        if error is not None:
            self.fail(error)
        else:
            with contextlib.suppress(InvalidStateError):
                self.set_result(other.result())

    def _seal_for(self, status: Status) -> Seal | None:
        if self._keys is not None:
            if not status.sealed:
                raise SealBroken(
                    f"task {self.task_id} is not encrypted, but this client has a key file: "
                    "attach to it with a client without one"
                )
            return self._keys.seal(self.task_id, status.executor, status.sealed)
        if status.sealed and status.state is State.DONE:
            raise NotAuthorized(
                f"the result of task {self.task_id} is encrypted with key {status.sealed!r}: "
                "attach to it with a client that has this key in its key file"
            )
        return None


class _Callback:
    """A user's callback, wrapped so that no exception escapes.

    Not even SystemExit or KeyboardInterrupt: on the client's thread they would end the client, and
    never the program.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[Future[bytes]], object]) -> None:
        self._function = function

    def __call__(self, future: Future[bytes]) -> None:
        try:
            self._function(future)
        except BaseException:
            with contextlib.suppress(BaseException):  # even its repr may raise
                log.exception("a callback of %r, %s, raised", future, _named(self._function))


def _named(function: object) -> str:
    """The name of a function, or else of its class. Its repr may be long, or may fail."""
    name = getattr(function, "__qualname__", "")
    return name if isinstance(name, str) and name else type(function).__qualname__
