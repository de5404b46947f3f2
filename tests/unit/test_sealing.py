"""Sealing: nobody without the key reads, alters, swaps or turns round what is sealed."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.decisions import explain
from masterworker.decisions.placement import Room, can_run
from masterworker.roles.future import TaskFuture
from masterworker.roles.keyfile import load_keys, new_key
from masterworker.words import limits, records
from masterworker.words.errors import BadConfiguration, NotAuthorized, SealBroken, TaskFailed
from masterworker.words.model import Attempt, Reason, State, Status, Task, Worker
from masterworker.words.sealing import KEY_BYTES, Keys, Seal, conceal
from tests.unit import strategies  # noqa: F401 - sets the profile

A_KEY = base64.b64encode(b"k" * KEY_BYTES).decode()
KEYS = Keys({"new": b"n" * KEY_BYTES, "old": b"o" * KEY_BYTES}, os.urandom)
texts = st.text(max_size=9)
MARKER = b"a marker that nobody may read"


def seal(task: str = "t-1", executor: str = "echo", key: str = "") -> Seal:
    return KEYS.seal(task, executor, key)


@given(st.binary(max_size=200), st.dictionaries(texts, texts, max_size=limits.MAX_OPTIONS))
def test_what_is_sealed_opens_again(payload: bytes, options: dict[str, str]) -> None:
    """With the same task, executor and key, whatever it is; never twice in the same form."""
    sealed = seal().payload(payload, options)
    assert seal().open_payload(sealed) == (payload, options)
    assert sealed != seal().payload(payload, options)
    assert seal().open_result(seal().result(payload)) == payload


def test_the_first_key_seals_and_all_open() -> None:
    """So keys can be changed while tasks are under way; an unknown one is named."""
    assert seal().key_id == "new"
    assert seal(key="old").open_result(seal(key="old").result(b"x")) == b"x"
    with pytest.raises(NotAuthorized, match=r"key 'gone', but the key file has only new, old"):
        seal(key="gone")


def test_nothing_opens_in_anothers_place() -> None:
    """Not as another task's, executor's or key's, not as a result, and not altered in any byte."""
    sealed = seal().payload(MARKER, {})
    strangers = [seal("t-2"), seal(executor="command"), seal(key="old")]
    for stranger in strangers:
        with pytest.raises(SealBroken, match="cannot be decrypted with key"):
            stranger.open_payload(sealed)
    with pytest.raises(SealBroken):
        seal().open_result(sealed)
    with pytest.raises(SealBroken):
        seal().open_payload(seal().result(MARKER))
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(SealBroken):
            seal().open_payload(bytes(altered))
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            seal().open_payload(sealed[:length])


@pytest.mark.parametrize("inner", [b"", b"\xc0", b"\x92\x80", b"\x92\x07\xa1x", b"\x92\x80\xa1x"])
def test_sealed_nonsense_is_told_apart(inner: bytes) -> None:
    """Whoever has the key can still seal something that is no payload."""
    with pytest.raises(SealBroken, match=r"the encrypted payload .* is invalid"):
        seal().open_payload(seal()._seal("payload", inner))


def test_the_largest_still_fits() -> None:
    """Sealed with the most options there can be, the largest payload is within its bound."""
    options = {f"{n:02}" + "x" * 120: "y" * 125 for n in range(limits.MAX_OPTIONS)}
    limits.check_options(options)
    sealed = seal().payload(bytes(limits.MAX_PAYLOAD), options)
    limits.check_payload(sealed, "it", "new")
    assert len(seal().payload(b"x" * 100, {})) == 100 + 33


def test_evidence_is_sealed_in_its_place() -> None:
    """Cut to fit into a record, it opens where it belongs, and what a master wrote stays."""
    long = "why\n" + "é" * limits.MAX_DETAIL + MARKER.decode()
    sealed = seal().evidence(long, 0)
    assert MARKER.decode() not in sealed
    assert len(sealed) <= limits.MAX_DETAIL
    lost = Attempt("w", Reason.LOST, "the worker's session ended")
    history = (Attempt("w", Reason.FAILED, sealed), lost, Attempt("w", Reason.FAILED, sealed))
    first, second, third = seal().open_history(history)
    assert first.detail.startswith("why\n")
    assert long.endswith(first.detail.removeprefix("why\n"))
    assert len(first.detail) > 700
    assert second is lost
    assert "cannot be decrypted" in third.detail, "it was copied to another place"
    shown = conceal(history, "new")
    assert shown[0].detail == "encrypted with key 'new': pass its file with --key-file"
    assert shown[1] is lost


# --- the client's future -------------------------------------------------------------------------


def test_a_future_opens_its_result() -> None:
    """And its history, if it failed."""
    future = TaskFuture("t-1", seal())
    status = Status(State.DONE, "echo", sealed="new")
    assert future.settle(records.encode_status(status, seal().result(b"fine")))
    assert future.result() == b"fine"
    future = TaskFuture("t-1", seal())
    history = (Attempt("w", Reason.FAILED, seal().evidence("because", 0)),)
    status = Status(State.FAILED, "echo", reason=Reason.FAILED, history=history, sealed="new")
    assert future.settle(records.encode_status(status))
    with pytest.raises(TaskFailed, match="because"):
        future.result()


@pytest.mark.parametrize("sealed", ["", "new"])
def test_a_forged_result_is_an_error(sealed: str) -> None:
    """Who can write to ZooKeeper and has no key cannot pass a result off, sealed or not; the status
    is left where it is."""
    future = TaskFuture("t-1", seal())
    forged = records.encode_status(Status(State.DONE, "echo", sealed=sealed), b"forged result")
    assert not future.settle(forged)
    with pytest.raises(SealBroken, match="encrypted without the key"):
        future.result()


# --- who is given sealed tasks -------------------------------------------------------------------

SEALED = Task("t", "echo", sealed="new")


def test_only_who_has_the_key_is_given_a_sealed_task() -> None:
    """Workers that announce no keys, as those of the first version do, get plain tasks alone."""
    without = Worker({"echo": True}, 2, 2)
    other = Worker({"echo": True}, 2, 2, keys=("old",))
    having = Worker({"echo": True}, 1, 1, keys=("old", "new"))
    assert [can_run(worker, SEALED) for worker in (without, other, having)] == [0, 0, 1]
    room = Room({"a": without, "b": other, "c": having}, {})
    plain = Task("p", "echo")
    assert [room.take(SEALED) for _ in range(2)] == ["c", None]
    assert [room.take(plain) for _ in range(5)] == ["a", "b", "a", "b", None]


def test_why_a_sealed_task_waits() -> None:
    """It names the key, and what to start; without the executor, that is the reason."""
    workers = {"w": Worker({"echo": True}, 1, 1, keys=("old",))}
    why = explain.pending(SEALED, primary="m", workers=workers, loads={}, now=0.0)
    assert "encrypted with key 'new'" in why
    assert "mwctl worker --executor echo --key-file FILE" in why
    why = explain.pending(SEALED, primary="m", workers={}, loads={}, now=0.0)
    assert "no ready worker offers executor 'echo'" in why


# --- the key file --------------------------------------------------------------------------------


def key_file(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_key_file_is_read(tmp_path: Path) -> None:
    """The first key is the one that seals; comments and empty lines are skipped."""
    text = f"# ours\n\n{new_key('b')}  # newest\n{new_key('a')}\n{new_key()}\n"
    keys = load_keys(key_file(tmp_path, text, 0o640))
    assert keys.ids[:2] == ("b", "a")
    assert len(keys.ids) == 3
    assert keys.seal("t-1", "echo").key_id == "b"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 0 keys"),
        ("id", r"keys:1: expected ID KEY"),
        ("ID c2VjcmV0", r"keys:1: expected ID KEY"),
        ("\nid c2VjcmV0", r"keys:2: the key 'id' is not 32 bytes in base64"),
        ("id s;e;c;r;e;t", r"not 32 bytes in base64"),
        (f"a {A_KEY}\na {A_KEY}", r"keys:2: key 'a' appears twice"),
        ("\n".join(f"k{n} {A_KEY}" for n in range(17)), "17 keys, expected 1 to 16"),
    ],
)
def test_a_bad_key_file_is_refused_without_showing_it(tmp_path: Path, text: str, says: str) -> None:
    """The message has the place and what to do, and no piece of a key."""
    file = key_file(tmp_path, text)
    with pytest.raises(BadConfiguration, match=says) as refused:
        load_keys(file)
    assert "c2VjcmV0" not in str(refused.value)
    assert "s;e;c" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o601])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Its group may read it; nobody else may do anything."""
    with pytest.raises(BadConfiguration, match=rf"mode {mode:04o}\): run `chmod 600"):
        load_keys(key_file(tmp_path, new_key(), mode))


def test_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, not text."""
    (tmp_path / "keys").write_bytes(b"\xff")
    for file in (tmp_path / "missing", tmp_path, tmp_path / "keys"):
        with pytest.raises(BadConfiguration, match="cannot be read"):
            load_keys(file)


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encryption is optional, and so is what it needs."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(BadConfiguration, match=r"pip install 'masterworker\[encryption\]'"):
        load_keys(key_file(tmp_path, new_key()))
