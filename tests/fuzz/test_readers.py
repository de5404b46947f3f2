"""Whatever stands in a znode: only declared errors come out, and what is accepted reads again."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from masterworker.words import limits, paths, records
from masterworker.words.errors import BadName, BadRecord
from masterworker.words.model import Attempt, Reason, Task

from . import hostile, readers


def test_bombs() -> None:
    """No reader takes them, or what it takes is sound; none fails in a way it does not declare."""
    for name, bomb in hostile.bombs().items():
        try:
            readers.check(bomb)
        except Exception as error:
            raise AssertionError(name) from error


@given(hostile.znodes)
def test_any_data(data: bytes) -> None:
    """Random bytes, random msgpack, forged and damaged records."""
    readers.check(data)


@given(hostile.sound)
def test_sound_records_are_accepted(data: bytes) -> None:
    """The check can succeed: what we write ourselves has exactly one reader of its kind."""
    assert len(readers.check(data) & {"task", "status", "worker", "master", "ledger"}) == 1


@pytest.mark.parametrize(
    "history",
    [
        [Attempt("w", Reason.FAILED)] * limits.MAX_ATTEMPTS,
        [Attempt("w", Reason.LOST)] * limits.MAX_LOSSES,
        [Attempt("w" * 200, Reason.FAILED, "é" * limits.MAX_DETAIL)] * 3,
        [Attempt("é" * 200, Reason.FAILED)],
    ],
    ids=["no attempt left", "no loss left", "evidence of too many bytes", "a worker's name"],
)
def test_history_that_leaves_no_room(history: list[Attempt]) -> None:
    """A history that no task of ours has: its next attempt could not be written, or not read."""
    rows = [[one.worker, one.reason.value, one.detail, None, None] for one in history]
    header = {"executor": "echo", "submitted": 0.0, "history": rows}
    with pytest.raises(BadRecord, match="history"):
        records.decode_task(readers.TASK, hostile.record(b"t", msgpack.packb(header)))


def test_longest_history_and_options_leave_room() -> None:
    """The largest task there can be, in every field at its bound, takes another attempt."""
    full = Attempt("w" * limits.MAX_NAME, Reason.OUT_OF_MEMORY, "x" * limits.MAX_DETAIL, 1e9, 1e9)
    lost = Attempt("w" * limits.MAX_NAME, Reason.LOST, "x" * limits.MAX_DETAIL, 1e9, 1e9)
    share = limits.MAX_OPTION_BYTES // limits.MAX_OPTIONS // 2
    task = Task(
        readers.TASK,
        "e" * limits.MAX_EXECUTOR_NAME,
        1e9,
        limits.MAX_ATTEMPTS,
        {f"{n:0{share}}": "x" * share for n in range(limits.MAX_OPTIONS)},
        (full,) * (limits.MAX_ATTEMPTS - 1) + (lost,) * (limits.MAX_LOSSES - 1),
    )
    assert readers.task(records.encode_task(task, b""))


@given(hostile.names)
@example("")
@example("..")
@example("a\x1fb")
@example("a\x7fb")
@example("0123456789abcdef-1\n")
@example("0123456789abcdef-\u0661")
@example("0123456789abcdef-" + "9" * 10_000)
@example("x" * 1_000_000)
def test_any_name(name: str) -> None:
    """Names are judged alike one by one and together, and only what is judged good has a path."""
    good = paths.is_name(name)
    assert not good or (name.isascii() and name.isprintable() and "/" not in name)
    if name not in ("", ".", "..") and "/" not in name:  # ZooKeeper has no such children
        assert paths.are_names([name]) is good
        assert paths.are_names(["good", name, "good"]) is good
    try:
        client, number = paths.split_task(name)
    except BadName as error:
        said = str(error)
        assert not paths.is_task(name)
        assert len(said) < readers.MOST_SAID
        assert said.isprintable()
    else:
        assert paths.is_task(name)
        assert good
        assert paths.task_id(client, number) == name
    assert not paths.is_executor(name) or good
    assert paths.status(name).startswith(paths.STATUS + "/")


@given(st.lists(hostile.names.filter(lambda name: name not in ("", ".", "..")), max_size=6))
def test_any_listing(names: list[str]) -> None:
    """A listing is good exactly if each name in it is, whatever stands between them."""
    sound = ["/" not in name for name in names]
    assert not all(sound) or paths.are_names(names) is all(map(paths.is_name, names))


@given(hostile.plain, st.integers(0, 2**32 - 1))
def test_any_header_length(header: object, length: int) -> None:
    """A length that lies about a header, too short or too long, is an error like any other."""
    packed = msgpack.packb({"executor": "echo", "submitted": header})
    for kind in hostile.KINDS:
        prefix = struct.pack("!3sBcH", records.MARK, records.FORMAT, kind, length % 65_536)
        readers.check(prefix + packed)
