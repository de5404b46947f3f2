"""What a client accepts, the primary understands: one rule, the same for those who write and read.

The clients here keep what is posted, and have no ZooKeeper.
"""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker import BadName, Client, PayloadTooLarge, Refused
from masterworker.roles.account import Submission
from masterworker.words import limits, records
from masterworker.words.model import Attempt, Master, Reason, State, Status, Task, Worker
from tests.unit import strategies  # noqa: F401 - sets the profile

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"attempts": 2.5}, TypeError, "attempts=2.5"),
    ({"attempts": True}, TypeError, "attempts=True"),
    ({"attempts": "3"}, TypeError, "attempts='3'"),
    ({"attempts": 0}, Refused, "attempts=0"),
    ({"attempts": -1}, Refused, "attempts=-1"),
    ({"attempts": 17}, Refused, "attempts=17: expected 1 to 16"),
    ({"attempts": 10**5_000}, Refused, "a int"),
    ({"attempts": math.nan}, TypeError, "attempts=nan"),
    ({"options": ["a"]}, TypeError, r"options=\['a'\]"),
    ({"options": []}, TypeError, r"options=\[\]"),
    ({"options": "a=b"}, TypeError, "options='a=b'"),
    ({"options": {"a": 1}}, TypeError, "options contain 1"),
    ({"options": {b"a": "b"}}, TypeError, "options contain b'a'"),
    ({"options": {"a": "\udcff"}}, Refused, r"'\\udcff'"),
    ({"options": {"\ud800": "a"}}, Refused, r"'\\ud800'"),
    ({"options": {"a": "x" * 8_000}}, Refused, "8,001 bytes"),
    ({"executor": None}, TypeError, "executor=None"),
    ({"executor": ["echo"]}, TypeError, r"executor=\['echo'\]"),
    ({"executor": b"echo"}, TypeError, "executor=b'echo'"),
    ({"executor": "Echo"}, BadName, "'Echo'"),
    ({"executor": "\ud800"}, BadName, "executor name"),
    ({"executor": ""}, BadName, "executor name"),
]


@pytest.mark.parametrize(("arguments", "kind", "said"), WRONG)
def test_what_no_task_can_have_is_refused_with_its_value(
    posted: list[Submission], arguments: dict[str, Any], kind: type[Exception], said: str
) -> None:
    """By `submit`, and by `map` at the call; the wrong type is a TypeError."""
    client = Client()
    with pytest.raises(kind, match=said):
        client.submit(b"x", **({"executor": "echo"} | arguments))
    with pytest.raises(kind, match=said):
        client.map(**({"executor": "echo", "payloads": [b"x"]} | arguments))
    assert posted == []


@pytest.mark.parametrize("timeout", ["5", None.__class__, True, math.nan])
def test_a_timeout_that_is_no_number_is_refused(posted: list[Submission], timeout: Any) -> None:
    """By everything that takes one, before it waits; nan is no time either."""
    client = Client()
    for wait in (client.flush, client.close, lambda one: client.map("echo", [], timeout=one)):
        with pytest.raises((TypeError, ValueError), match="timeout"):
            wait(timeout)
    for name in ("session_timeout", "connect_timeout"):
        with pytest.raises((TypeError, ValueError), match=name):
            Client(**{name: timeout})
    client.flush(math.inf)
    assert posted == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_payloads_of_each_type_are_copied_when_they_are_sent(
    posted: list[Submission], kind: type[bytes | bytearray | memoryview]
) -> None:
    """And a size is counted in bytes, not in a view's items."""
    Client().submit(kind(b"payload"), executor="echo")
    [submission] = posted
    assert records.body(submission.create.data) == b"payload"
    wide = memoryview(bytes(limits.MAX_PAYLOAD + 8)).cast("Q")
    with pytest.raises(PayloadTooLarge, match="900,008"):
        Client().submit(wide, executor="echo")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=5)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["echo", 3, {"size": "1"}]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
CLOCKS = st.floats() | st.integers() | st.sampled_from([-1.0, 0, 1.7e9, 1e12, 2.0**62])


@given(executor=ANYTHING, attempts=ANYTHING, options=ANYTHING, clock=CLOCKS)
def test_a_task_that_can_be_written_can_be_read(
    executor: Any, attempts: Any, options: Any, clock: float
) -> None:
    """Whatever a program asks for is refused, or is read by the primary as it was meant."""
    task = Task("t", executor, clock, attempts, options)
    try:
        limits.check_options(options)
        data = records.encode_task(task, b"x")
    except (TypeError, Refused, BadName, PayloadTooLarge):
        return
    found = records.decode_task("t", data)
    assert found._replace(submitted=0) == task._replace(submitted=0)
    if 0 <= clock < limits.LATEST:
        assert found.submitted == clock


@given(CLOCKS, st.text(st.characters(), max_size=2_000))
def test_odd_clocks_and_names_of_hosts_spoil_no_record(clock: float, text: str) -> None:
    """A clock before 1970, a host's name that is no Unicode: the record can still be read."""
    attempt = Attempt("w", Reason.FAILED, text, clock, clock)
    status = Status(State.FAILED, "echo", "w", clock, clock, clock, Reason.FAILED, (attempt,))
    assert records.decode_status(records.encode_status(status)).state is State.FAILED
    worker = Worker({"echo": True}, 1, 1, text, 1, text, started=clock)
    assert records.decode_worker(records.encode_worker(worker)).slots == 1
    master = Master("m", text, 1, text, clock)
    assert records.decode_master(records.encode_master(master)).id == "m"


def test_a_clock_before_1970_keeps_no_task_from_running(
    posted: list[Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task says 1970 then: its time of submission is only for people."""
    monkeypatch.setattr(time, "time", lambda: -86_400.0)
    Client().submit(b"x", executor="echo")
    [submission] = posted
    assert records.decode_task("t", submission.create.data).submitted == 0.0
