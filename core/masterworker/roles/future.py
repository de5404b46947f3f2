"""The future of a submitted task: a `concurrent.futures.Future` that knows its task."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError

from ..words import records
from ..words.errors import BadRecord, MasterworkerError, SealBroken, TaskFailed
from ..words.model import State
from ..words.sealing import Seal


class TaskFuture(Future[bytes]):
    """A task's result to come.

    `result()` returns the result's bytes or raises TaskFailed with the history of its attempts;
    TaskCancelled if somebody cancelled the task; ClientClosed if the client was closed before the
    status arrived. It works with `concurrent.futures.wait`, `as_completed` and
    `asyncio.wrap_future`. `cancel()` returns False: a future cannot take a task back.

    The result of a sealed task is opened with `seal`, and one that does not open is an error.
    """

    def __init__(self, task_id: str, seal: Seal | None = None) -> None:
        super().__init__()
        self.task_id = task_id
        self._seal = seal

    def cancel(self) -> bool:
        """False: what was submitted runs, whoever waits for it."""
        return False

    def __repr__(self) -> str:
        return f"<TaskFuture {self.task_id} {self._state.lower()}>"

    def fail(self, error: BaseException) -> None:
        """End the future with an error, unless it has ended already."""
        with contextlib.suppress(InvalidStateError):
            self.set_exception(error)

    def settle(self, data: bytes) -> bool:
        """End the future with the status znode's data; whether that could be understood."""
        try:
            status = records.decode_status(data)
        except BadRecord as error:
            self.fail(
                MasterworkerError(
                    f"the status of task {self.task_id} cannot be understood: {error}"
                )
            )
            return False
        result, history = records.body(data), status.history
        if self._seal is not None:
            try:
                result = self._seal.open_result(result) if status.state is State.DONE else b""
            except SealBroken as error:
                self.fail(error)
                return False
            history = self._seal.open_history(history)
        if status.state is State.DONE:
            with contextlib.suppress(InvalidStateError):  # the client was closed meanwhile
                self.set_result(result)
        else:
            reason = status.reason.value if status.reason else "failed"
            self.fail(TaskFailed(self.task_id, reason, history))
        return True
