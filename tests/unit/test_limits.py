"""The bounds: the largest of everything fits into one request, and one byte more is refused."""

from __future__ import annotations

import pytest

from masterworker.words import limits, paths, records
from masterworker.words.errors import PayloadTooLarge, Refused
from masterworker.words.model import (
    Attempt,
    Reason,
    State,
    Status,
    Task,
)
from tests.unit.records_support import (
    STATUS,
    TASK,
)

WORST_DETAIL = "é" * limits.MAX_DETAIL
WORST_OPTIONS = {f"{n:>0125}": "v" * 125 for n in range(limits.MAX_OPTIONS)}
WORST_HISTORY = tuple(
    Attempt("w" * limits.MAX_NAME, reason, WORST_DETAIL, 1.5e9, 1.6e9)
    for reason, times in (
        (Reason.OUT_OF_MEMORY, limits.MAX_ATTEMPTS - 1),
        (Reason.LOST, limits.MAX_LOSSES - 1),
    )
    for _ in range(times)
)
WORST_TASK = Task(
    "t",
    "e" * limits.MAX_EXECUTOR_NAME,
    1.4e9,
    limits.MAX_ATTEMPTS,
    WORST_OPTIONS,
    WORST_HISTORY,
    raw=True,
    sealed="k" * limits.MAX_KEY_ID,
)
WORST_PAYLOAD = b"p" * (limits.MAX_PAYLOAD + limits.MAX_SEAL)


def test_the_largest_task_fits_into_one_request() -> None:
    """Payload, options and history at their limits leave room for the paths around the record."""
    limits.check_options(WORST_OPTIONS)
    data = records.encode_task(WORST_TASK, WORST_PAYLOAD)
    name = "x" * limits.MAX_NAME
    around = 3 * len(paths.assignment(name, name)) + 1_000  # create, delete, checks, headers
    assert len(data) + around < limits.JUTE_MAXBUFFER
    assert len(records.body(data)) == len(WORST_PAYLOAD)
    assert len(records.decode_task("t", data).history) == len(WORST_HISTORY)


def test_the_largest_status_fits_into_one_request() -> None:
    """The same holds for the status that such a task ends in, one attempt later."""
    history = (*WORST_HISTORY, WORST_HISTORY[0])
    status = Status(
        State.FAILED,
        WORST_TASK.executor,
        "w" * limits.MAX_NAME,
        1.4e9,
        1.5e9,
        1.6e9,
        Reason.LOST,
        history,
        WORST_TASK.sealed,
    )
    data = records.encode_status(status, WORST_PAYLOAD)
    assert len(data) + 3 * limits.MAX_NAME + 1_000 < limits.JUTE_MAXBUFFER
    assert len(records.decode_status(data).history) == len(history)


def test_one_byte_more_is_refused() -> None:
    """The error says how much there was, what the limit is and what to do instead."""
    with pytest.raises(PayloadTooLarge, match=r"task t has 900,001 bytes.*900,000.*elsewhere"):
        records.encode_task(TASK, b"p" * (limits.MAX_PAYLOAD + 1))
    with pytest.raises(PayloadTooLarge, match="the result has 900,001 bytes"):
        records.encode_status(STATUS, b"p" * (limits.MAX_PAYLOAD + 1))


def test_a_header_too_long_for_its_length_field_is_refused() -> None:
    """What does not fit into the header raises PayloadTooLarge, never a struct.error."""
    with pytest.raises(PayloadTooLarge, match="header"):
        records.encode_task(TASK._replace(owner="x" * limits.MAX_HEADER), b"")


def test_options_are_bounded() -> None:
    """Options that would crowd out the history are refused before a task is submitted."""
    limits.check_options({str(n): "" for n in range(limits.MAX_OPTIONS)})
    limits.check_options({"a": "x" * (limits.MAX_OPTION_BYTES - 1)})
    for options in (
        {str(n): "" for n in range(limits.MAX_OPTIONS + 1)},
        {"a": "x" * limits.MAX_OPTION_BYTES},
        {"a": "\udcff"},  # what a shell's undecodable argument becomes
    ):
        with pytest.raises(Refused):
            limits.check_options(options)
