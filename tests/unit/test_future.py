"""A future alone: callbacks that raise anything, and what is left of it after a fork."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from masterworker import TaskFuture
from masterworker.words import records
from masterworker.words.model import State, Status

TASK = "0123456789abcdef-1"
DONE = records.encode_status(Status(State.DONE, "echo"), b"result")


class Unshowable(Exception):
    """An error that does not even let itself be shown."""

    def __str__(self) -> NoReturn:
        raise SystemExit("shown")

    __repr__ = __str__


class OddCallback:
    """A callback without a name, that cannot be shown."""

    def __call__(self, _future: object) -> NoReturn:
        raise Unshowable

    def __repr__(self) -> NoReturn:
        raise KeyboardInterrupt


def raising(error: BaseException) -> Callable[[object], None]:
    """A callback that raises."""

    def callback(_future: object) -> None:
        raise error

    return callback


HARMFUL = [
    raising(ValueError("on purpose")),
    raising(SystemExit(3)),
    raising(KeyboardInterrupt()),
    raising(GeneratorExit()),
    raising(BaseException("base")),
    raising(Unshowable()),
    OddCallback(),
]


@pytest.mark.parametrize("harmful", HARMFUL)
def test_a_callback_harms_only_itself(
    harmful: Callable[[object], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises: the others are called, nothing comes out, and the log names the task."""
    called: list[object] = []
    future = TaskFuture(TASK)
    future.add_done_callback(called.append)
    future.add_done_callback(harmful)
    future.add_done_callback(called.append)
    with caplog.at_level(logging.ERROR):
        assert future.settle(DONE)
    assert called == [future, future]
    assert future.result(0) == b"result"
    [record] = caplog.records
    assert TASK in record.getMessage()
    assert record.exc_info is not None


def test_ctrl_c_in_a_callback_that_is_called_at_once_comes_through() -> None:
    """It is called by the thread that added it, which may be the one that was interrupted."""
    future = TaskFuture(TASK)
    future.settle(DONE)
    with pytest.raises(KeyboardInterrupt):
        future.add_done_callback(raising(KeyboardInterrupt()))
    future.add_done_callback(raising(ValueError("on purpose")))


FORKED_FUTURES = """
import concurrent.futures, os, signal, sys, threading, warnings
from masterworker import ClientForked, TaskFuture
from masterworker.words import records
from masterworker.words.model import State, Status

warnings.simplefilter("ignore")  # that a process with threads forks is the point
done, waiting, stuck = (TaskFuture(f"0123456789abcdef-{n}") for n in (1, 2, 3))
done.settle(records.encode_status(Status(State.DONE, "echo"), b"result"))
waiting.add_done_callback(lambda _: print("the parent's callback", flush=True))
held = threading.Event()

def hold():
    with done._condition, stuck._condition:
        held.set()
        signal.pause()

threading.Thread(target=hold, daemon=True).start()
held.wait()
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
signal.alarm(10)
assert done.result() == b"result"
ended, left = concurrent.futures.wait([done, waiting, stuck])
assert (len(ended), len(left)) == (3, 0)
assert len(list(concurrent.futures.as_completed([waiting, stuck]))) == 2
called = []
for future in (waiting, stuck):
    assert future.cancel() is False
    assert future.done()
    future.add_done_callback(called.append)
    try:
        future.result()
    except ClientForked as error:
        assert str(os.getpid()) in str(error) and str(os.getppid()) in str(error), error
        assert "create a Client in each process" in str(error)
    else:
        raise AssertionError(future)
assert called == [waiting, stuck]
print("sound")
"""


def test_a_future_says_so_after_a_fork() -> None:
    """Also one whose lock was held at that moment; one that had ended has its result."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKED_FUTURES], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "sound\n"), ended.stderr
