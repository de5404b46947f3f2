"""The two requests kazoo lacks, byte for byte: what we send and how we read the answers."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.protocol import serialization as kazoo
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id

from masterworker.words import paths
from masterworker.zookeeper.operations import (
    Check,
    Code,
    Create,
    Delete,
    Multi,
    MultiRead,
    Operation,
    Refusal,
    Set,
    Unreadable,
    WhoAmI,
    Znode,
    pack_acl,
    size,
)
from tests.unit import strategies

END = struct.pack("!i?i", -1, True, -1)
STAT = struct.Struct("!qqqqiiiqiiq")

somewhere = st.builds(paths.assignment, strategies.names, strategies.names)
versions = st.integers(-1, 2**31 - 1)
operations = st.one_of(
    st.builds(Create, somewhere, strategies.payloads, st.booleans()),
    st.builds(Delete, somewhere, versions),
    st.builds(Set, somewhere, strategies.payloads, versions),
    st.builds(Check, somewhere, versions),
)
chroots = st.just("") | strategies.names.map("/{}".format)


def as_kazoo(operation: Operation, chroot: str) -> object:
    """The same operation in kazoo's words."""
    path = chroot + operation.path
    match operation:
        case Create(_, data, ephemeral):
            return kazoo.Create(path, data, OPEN_ACL_UNSAFE, int(ephemeral))
        case Delete(_, version):
            return kazoo.Delete(path, version)
        case Set(_, data, version):
            return kazoo.SetData(path, data, version)
        case Check(_, version):
            return kazoo.CheckVersion(path, version)


def error(code: int) -> bytes:
    """An error entry of a reply."""
    return struct.pack("!i?i", -1, False, code) + struct.pack("!i", code)


def found(data: bytes, stat: tuple[int, ...], length: int | None = None) -> bytes:
    """The entry of a znode in the reply to a multi-read."""
    header = struct.pack("!i?i", 4, False, 0)
    length = len(data) if length is None else length
    return header + struct.pack("!i", length) + data + STAT.pack(*stat)


# --- multi -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stranger", "error"),
    [
        (SimpleNamespace(path="/a"), TypeError),  # of a type it does not know
        (Check._make(("/a", None)), struct.error),
        (Create._make(("/a", "text", False, ())), TypeError),
        (Delete("/a", 2**31), struct.error),
    ],
)
def test_what_cannot_be_written_is_refused_where_it_is_asked_for(
    stranger: Any, error: type[Exception]
) -> None:
    """No operation is left out without a word, and none raises on kazoo's thread later."""
    with pytest.raises(error):
        Multi([Check("/epoch", 3), stranger], "/c")


@given(st.lists(operations, max_size=20), chroots)
def test_a_multi_is_written_as_kazoo_writes_it(several: list[Operation], chroot: str) -> None:
    """The same operations give the same bytes as kazoo's own Transaction."""
    theirs = kazoo.Transaction([as_kazoo(operation, chroot) for operation in several])
    assert Multi(several, chroot).serialize() == bytes(theirs.serialize())


def test_a_multi_on_the_wire() -> None:
    """The bytes themselves, spelled out once."""
    request = Multi([Check("/epoch", 3), Create("/a", b"x")], "/c")
    assert request.type == kazoo.Transaction.type == 14
    assert request.serialize() == b"".join(
        [
            b"\0\0\0\x0d\0\xff\xff\xff\xff",  # check, not done, no error
            b"\0\0\0\x08/c/epoch\0\0\0\x03",
            b"\0\0\0\x01\0\xff\xff\xff\xff",  # create
            b"\0\0\0\x04/c/a\0\0\0\x01x",
            b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone",
            b"\0\0\0\0",  # flags: persistent
            b"\xff\xff\xff\xff\x01\xff\xff\xff\xff",  # done
        ]
    )


def test_another_access_list_is_passed_on() -> None:
    """Where there are access lists, each znode created gets its own, packed as kazoo packs it."""
    entries = {"x509:CN=a,O=b": 31, "digest:bob:aGFzaA==": 9}
    creates = [Create("/a", owners=("bob",)), Create("/b")]
    asked: list[Create] = []

    def acl_of(create: Create) -> bytes:
        asked.append(create)
        return pack_acl(entries)

    acls = [ACL(31, Id("x509", "CN=a,O=b")), ACL(9, Id("digest", "bob:aGFzaA=="))]
    theirs = kazoo.Transaction([kazoo.Create(one.path, b"", acls, 0) for one in creates])
    assert Multi(creates, "", acl_of).serialize() == bytes(theirs.serialize())
    assert asked == creates


def test_who_am_i_on_the_wire() -> None:
    """The request is empty; of the answer everything counts but the address."""
    reply = bytes.fromhex("00000002 00000004") + b"x509\0\0\0\x04CN=a"
    reply += b"\0\0\0\x02ip\0\0\0\x09127.0.0.1"
    assert (WhoAmI.type, WhoAmI().serialize()) == (107, b"")
    assert WhoAmI().deserialize(b"head" + reply, 4) == [("x509", "CN=a")]


@given(st.lists(operations, min_size=1, max_size=20))
def test_the_size_is_no_underestimate(several: list[Operation]) -> None:
    """Batches are cut by `size`: what is sent is never larger, a chroot of 20 bytes included."""
    sent = len(Multi(several, "/" + "c" * 19).serialize()) - len(END)
    assert sent <= sum(size(operation) for operation in several) + 20 * len(several)


def test_a_multi_that_was_carried_out() -> None:
    """No refusal, whatever the results of its operations are."""
    reply = b"".join(
        [
            b"reply header....",
            struct.pack("!i?i", 13, False, 0),
            struct.pack("!i?i", 1, False, 0) + struct.pack("!i", 2) + b"/a",
            struct.pack("!i?i", 5, False, 0) + STAT.pack(*range(11)),
            struct.pack("!i?i", 2, False, 0),
            END,
        ]
    )
    assert Multi([Check("/a")], "").deserialize(reply, 16) == []


def test_an_empty_multi_was_carried_out() -> None:
    """There is nothing to refuse in it."""
    assert Multi([], "").deserialize(END, 0) == []


@given(
    st.integers(0, 300),
    st.integers(0, 300),
    st.sampled_from([code for code in Code if code < -100] + [-4, -999]),
)
def test_a_refusal_names_the_operation_that_failed(before: int, behind: int, code: int) -> None:
    """It is the one that is neither rolled back nor was never tried, also with unknown codes."""
    entries = [Code.ROLLED_BACK] * before + [code] + [Code.RUNTIME_INCONSISTENCY] * behind
    reply = b"12345" + b"".join(map(error, entries)) + END
    assert Multi([], "").deserialize(reply, 5) == [Refusal(before, code)]


def test_a_refusal_can_be_read() -> None:
    """In a log line it is the error's name, or its number."""
    assert str(Refusal(3, Code.NODE_EXISTS)) == "NODE_EXISTS"
    assert str(Refusal(3, -999)) == "error -999"


# --- multi-read ------------------------------------------------------------------------------


@given(st.lists(somewhere, max_size=20), chroots)
def test_a_multi_read_is_made_of_plain_reads(several: list[str], chroot: str) -> None:
    """Each read is a header and kazoo's own getData without a watch."""
    header = bytes(kazoo.MultiHeader(4, False, -1).serialize())
    parts = [header + bytes(kazoo.GetData(chroot + path, None).serialize()) for path in several]
    request = MultiRead(several, chroot)
    assert request.type == 22
    assert request.serialize() == b"".join(parts) + END


def test_a_multi_read_on_the_wire() -> None:
    """The bytes themselves, spelled out once."""
    assert MultiRead(["/a"], "/c").serialize() == (
        b"\0\0\0\x04\0\xff\xff\xff\xff\0\0\0\x04/c/a\0\xff\xff\xff\xff\x01\xff\xff\xff\xff"
    )


def test_every_kind_of_answer_is_told_apart() -> None:
    """Data with its stat, no data, no znode, a znode that may not be read: each in its place."""
    stat = (11, 12, 1, 2, 3, 4, 5, 16, 6, 7, 18)
    reply = b"".join(
        [
            b"reply header....",
            found(b"data", stat),
            error(Code.NO_NODE),
            found(b"", stat),
            found(b"", stat, length=-1),  # how the Java server writes data that is null
            error(Code.NO_AUTH),
            END,
        ]
    )
    empty = Znode(
        b"", 3, created=11, changed=12, owner=16, children=7, children_changed=18, modified=0.002
    )
    assert MultiRead([], "").deserialize(reply, 16) == [
        Znode(
            b"data",
            3,
            created=11,
            changed=12,
            owner=16,
            children=7,
            children_changed=18,
            modified=0.002,
        ),
        None,
        empty,
        empty,
        Unreadable(Code.NO_AUTH),
    ]


@given(
    st.lists(
        st.none()
        | st.sampled_from([Code.NO_AUTH, -999]).map(Unreadable)
        | st.builds(
            Znode,
            strategies.payloads,
            st.integers(0, 2**31 - 1),
            *[st.integers(-(2**63), 2**63 - 1)] * 3,
            st.integers(0, 2**31 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**40).map(float),
        )
    )
)
def test_any_answer_is_read_back(expected: list[Znode | Unreadable | None]) -> None:
    """Whatever mixture of answers comes, as many as were asked for come out, in order."""
    reply = b""
    for one in expected:
        if isinstance(one, Znode):
            stat = (
                one.created, one.changed, 0, int(one.modified * 1000), one.version, 0, 0, one.owner,
                0, one.children, one.children_changed,
            )  # fmt: skip
            reply += found(one.data, stat)
        else:
            reply += error(Code.NO_NODE if one is None else one.code)
    assert MultiRead([], "").deserialize(reply + END, 0) == expected


@pytest.mark.parametrize("request_", [Multi([Create("/a", b"secret")], ""), MultiRead(["/a"], "")])
def test_a_request_shows_no_data(request_: object) -> None:
    """kazoo logs requests by their repr: it is short and holds no payload."""
    assert "secret" not in repr(request_)
    assert len(repr(request_)) < 40
