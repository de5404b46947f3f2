"""Attempts inside the worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from masterworker import TaskContext
from masterworker.execution.attempts import Job
from masterworker.execution.inline import BATCH_COUNT, InlineRunner
from masterworker.words.executor import Executor
from masterworker.words.limits import MAX_DETAIL, MAX_PAYLOAD
from masterworker.words.model import Reason
from tests.unit.attempts_support import Outcomes, job
from tests.waiting import eventually


@contextmanager
def running(
    **runs: Callable[[bytes, TaskContext], object],
) -> Iterator[tuple[InlineRunner, Outcomes]]:
    """A runner of these executors, and a look at its outcomes."""
    outcomes = Outcomes()
    executors = {name: Executor(name, run, inline=True) for name, run in runs.items()}  # type: ignore[arg-type]
    runner = InlineRunner(executors, outcomes)
    try:
        yield runner, outcomes
    finally:
        runner.close()


def echo(payload: bytes, task: TaskContext) -> bytes:
    return payload


class Gate:
    """An executor that waits until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, payload: bytes, _: TaskContext) -> bytes:
        self.entered.set()
        assert self.open.wait(60)
        return payload


def test_a_batch_is_run_in_order_and_delivered_in_batches() -> None:
    """A thousand attempts arrive complete, in order, in few deliveries of bounded size."""
    jobs = [job("echo", str(number)) for number in range(1_000)]
    with running(echo=echo) as (runner, outcomes):
        runner.start(jobs)
        outcomes.of(jobs[-1])
        eventually(lambda: not runner.held())
    delivered = [outcome for batch in outcomes.batches for outcome in batch]
    assert [outcome.task_id for outcome in delivered] == [one.task.id for one in jobs]
    assert [outcome.result for outcome in delivered] == [one.payload for one in jobs]
    assert max(map(len, outcomes.batches)) <= BATCH_COUNT
    assert len(outcomes.batches) < 500


def test_one_attempt_is_delivered_at_once() -> None:
    """A single outcome does not wait for company that will not come."""
    with running(echo=echo) as (runner, outcomes):
        one = job("echo", "alone")
        runner.start([one])
        outcome = outcomes.of(one)
    assert (outcome.result, outcome.reason, outcome.interrupted) == (b"alone", None, False)
    assert outcome.started <= outcome.ended


def test_whatever_an_executor_raises_fails_its_attempt_only() -> None:
    """Exceptions, SystemExit among them, become evidence, and the thread goes on."""

    def fail(payload: bytes, task: TaskContext) -> bytes:
        raise {b"value": ValueError, b"exit": SystemExit, b"memory": MemoryError}[payload]("why")

    jobs = [job("fail", "value"), job("fail", "exit"), job("fail", "memory"), job("echo", "still")]
    with running(fail=fail, echo=echo) as (runner, outcomes):
        runner.start(jobs)
        value, leave, memory, still = map(outcomes.of, jobs)
    assert (value.reason, leave.reason) == (Reason.FAILED, Reason.FAILED)
    assert value.detail.startswith("ValueError: why\nTraceback")
    assert "attempts.py" not in value.detail
    assert "SystemExit: why" in leave.detail
    assert memory.reason is Reason.OUT_OF_MEMORY
    assert still.result == b"still"


def test_evidence_is_bounded_and_keeps_its_end() -> None:
    """A huge message is cut from the front, to what a record can hold."""

    def fail(payload: bytes, task: TaskContext) -> bytes:
        raise ValueError("x" * 100_000 + "the end")

    with running(fail=fail) as (runner, outcomes):
        one = job("fail")
        runner.start([one])
        detail = outcomes.of(one).detail
    assert len(detail.encode()) <= MAX_DETAIL
    assert detail.endswith("the end")


def test_results_are_judged() -> None:
    """None is empty; what is not bytes, or too large, fails with both sides of the matter."""
    jobs = [job("none"), job("text"), job("much"), job("most")]
    with running(
        none=lambda *_: None,
        text=lambda *_: "text",
        much=lambda *_: bytes(MAX_PAYLOAD + 1),
        most=lambda *_: bytes(MAX_PAYLOAD),
    ) as (runner, outcomes):
        runner.start(jobs)
        none, text, much, most = map(outcomes.of, jobs)
    assert (none.result, none.reason) == (b"", None)
    assert text.reason is Reason.FAILED
    assert "returned str, expected bytes" in text.detail
    assert much.reason is Reason.FAILED
    assert "900,001 bytes" in much.detail
    assert most.result == bytes(MAX_PAYLOAD)


def test_a_stopped_attempt_has_no_outcome() -> None:
    """Neither the running attempt nor a queued one is heard of after `stop`; the next one is."""
    gate = Gate()
    begun, queued, after = job("gate"), job("echo"), job("echo")
    with running(gate=gate, echo=echo) as (runner, outcomes):
        runner.start([begun, queued, after])
        assert gate.entered.wait(60)
        assert runner.running() == {begun.task.id}
        assert runner.held() == ids(begun, queued, after)
        runner.stop(begun.task.id)
        runner.stop(queued.task.id)
        assert runner.held() == ids(after)
        gate.open.set()
        outcomes.of(after)
    assert [[outcome.task_id for outcome in batch] for batch in outcomes.batches] == [
        [after.task.id]
    ]


def test_withdraw_takes_back_what_has_not_begun() -> None:
    """The queue is handed back, the running attempt ends as usual."""
    gate = Gate()
    jobs = [job("gate") for _ in range(3)]
    with running(gate=gate) as (runner, outcomes):
        runner.start(jobs)
        assert gate.entered.wait(60)
        assert runner.withdraw() == [one.task.id for one in jobs[1:]]
        assert runner.held() == ids(jobs[0])
        gate.open.set()
        outcomes.of(jobs[0])
        assert runner.held() == set()


def test_a_task_is_held_once() -> None:
    """Handing in a task that is running or queued changes nothing."""
    gate = Gate()
    begun, queued = job("gate"), job("gate")
    with running(gate=gate) as (runner, outcomes):
        runner.start([begun])
        assert gate.entered.wait(60)
        runner.start([begun, queued, queued])
        gate.open.set()
        outcomes.of(queued)
        assert runner.held() == set()


def test_nothing_starts_after_close() -> None:
    """A closed runner takes no jobs."""
    with running(echo=echo) as (runner, outcomes):
        runner.close()
        runner.start([job("echo")])
        assert runner.held() == set()
    assert outcomes.batches == []


def ids(*jobs: Job) -> set[str]:
    return {one.task.id for one in jobs}


def test_nothing_begins_after_the_lease() -> None:
    """Queued attempts wait while the lease has ended, and begin when it is renewed."""
    with running(echo=echo) as (runner, outcomes):
        runner.extend(time.monotonic() - 1)
        waiting = job("echo", "1")
        runner.start([waiting])
        assert runner.running() == set()
        runner.extend(time.monotonic() + 60)
        assert outcomes.of(waiting).result == b"1"


def test_what_is_queued_behind_the_end_of_the_lease_does_not_begin() -> None:
    """An attempt that has begun goes on; the one behind it stays in the queue."""
    gate = Gate()
    with running(gate=gate, echo=echo) as (runner, outcomes):
        first, second = job("gate", "1"), job("echo", "2")
        runner.start([first, second])
        assert gate.entered.wait(60)
        runner.extend(time.monotonic() - 1)
        gate.open.set()
        outcomes.of(first)
        assert runner.held() == {second.task.id}
        assert runner.withdraw() == [second.task.id]
