"""What one hostile znode may cost whoever reads it: memory and processor time, measured."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest

from masterworker.execution import frames
from masterworker.words import limits, paths

from . import hostile, readers

MIB = 1024 * 1024

RECORD_MEMORY = 10 * MIB
"""msgpack goes 1,024 levels deep, and on each it makes room for the list of 1,000 entries that is
allowed: 8 MiB. Measured: 8.3 MB."""

FRAME_MEMORY = 6 * MIB
"""An answer has 8 entries a level at the most; what counts is its text, once more as an object."""

SECONDS = 0.5
"""Of processor time. The worst takes about 10 ms on an idle machine of 2024; one that is busy may
be many times slower, and what this must find takes minutes."""

TRIES = 3
"""Times that a step is measured: others can only make it slower, so the least counts."""

REPLY = 64 * MIB
"""The longest reply that one request of ours may ask for. A server needs three to four times that
while it writes it, beside its data: with a heap of 512 MB (the default of dev/server.py) 64 znodes
of 900 kB were answered, and 100 ended it by OutOfMemoryError; 200 did so to one with 1.5 GB."""

NAME_SECONDS = 0.2
"""For all questions asked of one name of a megabyte: none looks at a character twice."""


def cost(step: Callable[[], object]) -> tuple[int, float]:
    """Bytes at the peak, and seconds of this thread's processor time."""
    took = min(_seconds(step) for _ in range(TRIES))
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1], took
    finally:
        tracemalloc.stop()


def _seconds(step: Callable[[], object]) -> float:
    began = time.thread_time()
    step()
    return time.thread_time() - began


@pytest.mark.parametrize("reader", ["task", "raw task", "status", "worker", "master", "ledger"])
def test_record(reader: str) -> None:
    """No header, whatever it claims, costs more than stated above."""
    for name, bomb in hostile.bombs().items():
        memory, seconds = cost(lambda bomb=bomb: readers.READERS[reader](bomb))  # type: ignore[misc]
        assert (memory < RECORD_MEMORY, seconds < SECONDS) == (True, True), (name, memory, seconds)


def test_the_worst_record_comes_near_the_bound() -> None:
    """The bound is no guess: the deepest nest of the longest lists needs most of it."""
    worst = hostile.record(b"t", hostile.BOMBS["lists in lists, all long"])
    memory, _ = cost(lambda: readers.task(worst))
    assert memory > RECORD_MEMORY / 2


def frame(packed: bytes) -> None:
    """Read an answer as a worker does."""
    try:
        frames.unpack(packed, frames.ANSWER_ENTRIES)
    except frames.BadFrame:
        return


@pytest.mark.parametrize(
    "packed",
    [
        b"\xdd\x00\x10\x00\x00" * 200_000,
        b"\xdf\x00\x10\x00\x00\xa1a" * 140_000,
        b"\x81\xa1a" * 340_000,
        b"\x98" * 1_000_000,
        (b"\x88" + b"\xa1a\x80" * 8) * 40_000,
        b"\x81\xa1a\xdb\x00\x0f\xff\xff" + b"x" * 0xFFFFF,
        b"\x81\xa1a\xc6\x00\x0f\xff\xff" + b"x" * 0xFFFFF,
        b"\x81\xa1a\xc9\x00\x0f\xff\xff\x01" + b"x" * 0xFFFFF,
        b"\x81\xa1a\xdb\x00\x0f\xff\xff" + "\U0001f600".encode() * 0x3FFFF,
    ],
    ids=["lists", "maps", "deep", "eights", "many", "text", "bytes", "extension", "wide text"],
)
def test_frame(packed: bytes) -> None:
    """No answer of a child's, as long as a frame may be, costs its worker more than stated."""
    assert len(packed) <= frames.MAX_FRAME
    memory, seconds = cost(lambda: frame(packed))
    assert memory < FRAME_MEMORY
    assert seconds < SECONDS


def test_longest_reply() -> None:
    """Znodes as large as they can be, as many as are ever asked for at a time."""
    assert limits.READ_COUNT * limits.JUTE_MAXBUFFER <= REPLY


@pytest.mark.parametrize(
    "name",
    ["x" * 10**6, "a-" * 500_000, "0" * 16 + "-" + "9" * 10**6, "\n" * 10**6, "\u202e" * 10**6],
    ids=["long", "dashes", "digits", "line ends", "unprintable"],
)
def test_name(name: str) -> None:
    """A name of a megabyte is judged in one go."""

    def ask() -> None:
        paths.is_name(name), paths.is_task(name), paths.is_number(name), paths.is_client(name)
        paths.is_executor(name), paths.are_names([name]), paths.status(name)

    assert len(name) > limits.MAX_NAME
    assert cost(ask)[1] < NAME_SECONDS
