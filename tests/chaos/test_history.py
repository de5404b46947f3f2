"""The history is what was done, on real servers; and on files made by hand, what must not pass."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, RolledBackError

from masterworker.dev.ensemble import Ensemble
from masterworker.dev.server import ZooKeeperServer
from tests.chaos import history
from tests.chaos.history import Check, Create, Delete, Operation, Set, Unjudgeable
from tests.integration.running import connected
from tests.waiting import eventually

# --- real servers ----------------------------------------------------------------------------


def test_what_one_server_did(tmp_path: Path) -> None:
    """Known operations, alone and in multis, refused ones, a session and its ephemeral znode."""
    with ZooKeeperServer(tmp_path) as server:
        with connected(server.hosts) as kazoo:
            session = kazoo.client_id[0]
            kazoo.create("/plain", b"one")
            kazoo.set("/plain", b"two")
            kazoo.create("/plain/child", b"")
            kazoo.delete("/plain/child")
            kazoo.create("/brief", b"", ephemeral=True)
            multi = kazoo.transaction()
            multi.check("/plain", 1)
            multi.create("/made", b"\x00\xff")
            multi.delete("/plain")
            assert not any(isinstance(answer, KazooException) for answer in multi.commit())
            refused = kazoo.transaction()
            refused.create("/never", b"")
            refused.delete("/nowhere")
            assert isinstance(refused.commit()[0], RolledBackError)
        found = list(history.read([tmp_path]))
        below = [one.operations for one in history.read([tmp_path], "/plain") if one.operations]
    assert [(one.event, one.operations) for one in found if one.session == session] == [
        ("opened", ()),
        ("", (Create("/plain", b"one"),)),
        ("", (Set("/plain", b"two", 1),)),
        ("", (Create("/plain/child", b""),)),
        ("", (Delete("/plain/child"),)),
        ("", (Create("/brief", b"", ephemeral=True),)),
        ("", (Check("/plain", 1), Create("/made", b"\x00\xff"), Delete("/plain"))),
        ("closed", (Delete("/brief"),)),
    ]
    assert below == [(Create("/child", b""),), (Delete("/child"),)]
    assert found[0].at == pytest.approx(found[-1].at, abs=30.0)


def test_what_three_servers_did_through_a_change_of_leader(tmp_path: Path) -> None:
    """The leader is killed and comes back: every acknowledged write is there once, in order."""
    servers = [tmp_path / str(number) for number in (1, 2, 3)]
    written: list[str] = []
    with Ensemble(3, tmp_path, tick_time=0.25) as ensemble:
        leader = ensemble.leader()
        assert leader is not None
        others = [one.hosts for index, one in enumerate(ensemble.servers) if index != leader]
        with connected(",".join(others)) as kazoo:
            for number in range(30):
                written.append(f"/{number:02}")
                eventually(partial(_created, kazoo, written[-1]), what=f"{written[-1]} is written")
                if number == 10:
                    ensemble.servers[leader].kill()
            ensemble.servers[leader].restart()
            kazoo.create("/last")
        while_running = history.read(servers)
    found = [
        operation.path
        for one in while_running
        for operation in one.operations
        if isinstance(operation, Create)
    ]
    assert found == [*written, "/last"]
    epochs = {zxid >> 32 for zxid in while_running.zxids}
    assert len(epochs) == 2
    assert while_running.left_out == []
    afterwards = history.read(servers)
    assert afterwards.zxids[: len(while_running.zxids)] == while_running.zxids


def _created(kazoo: KazooClient, path: str) -> bool:
    """Whether the znode is there, made now or by an earlier try whose answer was lost."""
    try:
        return bool(kazoo.exists(path) or kazoo.create(path))
    except KazooException:
        return False


# --- files made by hand ----------------------------------------------------------------------


def text(value: str) -> bytes:
    """A string as it stands in a log."""
    return struct.pack("!i", len(value)) + value.encode()


def deletion(zxid: int, path: str = "/x") -> bytes:
    """An entry of a log: the deletion of a znode."""
    body = struct.pack("!qiqqi", 7, 1, zxid, 5_000, 2) + text(path)
    return struct.pack("!qi", zlib.adler32(body), len(body)) + body + b"B"


def server(folder: Path, *files: Sequence[bytes], end: bytes = b"\0" * 64) -> Path:
    """A server's directory with these log files, each ending in `end`."""
    logs = folder / "version-2"
    logs.mkdir(parents=True)
    for number, entries in enumerate(files):
        header = struct.pack("!4siq", b"ZKLG", 2, 0)
        (logs / f"log.{number}").write_bytes(header + b"".join(entries) + end)
    return folder


def zxid(epoch: int, count: int) -> int:
    """The zxid of a leader's n-th transaction."""
    return (epoch << 32) + count


def test_servers_are_merged_and_files_follow_one_another(tmp_path: Path) -> None:
    """Each has a part; what two have stands there once."""
    one = server(tmp_path / "1", [deletion(zxid(1, 1))], [deletion(zxid(1, 2))])
    two = server(tmp_path / "2", [deletion(zxid(1, 2)), deletion(zxid(1, 3))])
    three = server(tmp_path / "3", [deletion(zxid(1, 1)), deletion(zxid(1, 3))])
    found = history.read([one, two, three])
    assert found.zxids == [zxid(1, 1), zxid(1, 2), zxid(1, 3)]
    operations: list[tuple[Operation, ...]] = [one.operations for one in found]
    assert operations == [(Delete("/x"),)] * 3


def test_tail_that_one_server_alone_has_is_left_out(tmp_path: Path) -> None:
    """At the end of a leader's epoch, unacknowledged, it is left out. A sole server is believed."""
    agreed = [deletion(zxid(1, 1)), deletion(zxid(2, 1))]
    lone = server(tmp_path / "1", [*agreed[:1], deletion(zxid(1, 2)), *agreed[1:]])
    two = server(tmp_path / "2", agreed)
    three = server(tmp_path / "3", [*agreed, deletion(zxid(2, 2))])
    found = history.read([lone, two, three])
    assert found.zxids == [zxid(1, 1), zxid(2, 1)]
    assert found.left_out == [zxid(1, 2), zxid(2, 2)]
    assert history.read([lone]).left_out == []


def test_gap_is_not_judged(tmp_path: Path) -> None:
    """Transactions that no server has any more, at the beginning or later."""
    late = server(tmp_path / "1", [deletion(zxid(1, 2))])
    with pytest.raises(Unjudgeable, match="missing"):
        history.read([late])
    holed = server(tmp_path / "2", [deletion(zxid(1, 1)), deletion(zxid(1, 3))])
    with pytest.raises(Unjudgeable, match="missing"):
        history.read([holed])
    with pytest.raises(Unjudgeable, match="no transaction log"):
        history.read([tmp_path / "3"])


def test_servers_that_contradict_each_other_are_not_judged(tmp_path: Path) -> None:
    """Two transactions under one number."""
    one = server(tmp_path / "1", [deletion(zxid(1, 1), "/x")])
    two = server(tmp_path / "2", [deletion(zxid(1, 1), "/y")])
    with pytest.raises(Unjudgeable, match="another transaction"):
        history.read([one, two])


def failed_multi(zxid: int, kind: int) -> bytes:
    """An entry of a log: a multi of a check, logged as of this kind, and a part that failed."""
    check = text("/epoch") + struct.pack("!i", 3)
    body = struct.pack("!qiqqii", 7, 1, zxid, 5_000, 14, 2)
    body += struct.pack("!ii", kind, len(check)) + check + struct.pack("!iii", -1, 4, -101)
    return struct.pack("!qi", zlib.adler32(body), len(body)) + body + b"B"


def test_failed_multi_may_look_different_on_two_servers(tmp_path: Path) -> None:
    """One logged it while another thread turned its parts into errors. It failed on both."""
    check, error = 13, -1
    one = server(tmp_path / "1", [failed_multi(zxid(1, 1), check)])
    two = server(tmp_path / "2", [failed_multi(zxid(1, 1), error)])
    found = history.read([one, two])
    assert found.zxids == [zxid(1, 1)]
    assert list(found) == []
    three = server(tmp_path / "3", [deletion(zxid(1, 1))])
    with pytest.raises(Unjudgeable, match="another transaction"):
        history.read([one, three])


@pytest.mark.parametrize("cut", [1, 8, 20, 40])
def test_entry_that_a_dying_server_did_not_finish_is_no_entry(tmp_path: Path, cut: int) -> None:
    """Its last bytes never came to the disk, or zeros stand there."""
    whole, half = deletion(zxid(1, 1)), deletion(zxid(1, 2))[:-cut]
    ends_there = server(tmp_path / "1", [whole, half], end=b"")
    assert history.read([ends_there]).zxids == [zxid(1, 1)]
    if cut > 1:  # the end mark alone tells nothing
        zeros = server(tmp_path / "2", [whole, half])
        assert history.read([zeros]).zxids == [zxid(1, 1)]
