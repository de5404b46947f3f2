"""Writing results: whole or not at all, and through what is no plain file."""

from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from masterworker.cli.files import own_descriptor, write_all, write_file

LONG = "n" * 255
"""The longest name that a file can have."""


def mode(file: Path) -> int:
    """A file's permissions."""
    return stat.S_IMODE(file.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """Files that the test makes are for their owner and group."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("name", ["result", LONG, "two\nlines", os.fsdecode(b"\xff")])
def test_a_new_file_is_whole_and_has_the_mode_of_the_umask(tmp_path: Path, name: str) -> None:
    """Whatever its name is, and nothing else is left in the folder."""
    write_file(b"result", tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"result"
    assert mode(tmp_path / name) == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_an_existing_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    """It is replaced, so that a reader of the old one is not disturbed."""
    file = tmp_path / "result"
    file.write_bytes(b"old and longer")
    file.chmod(0o604)
    if os.getuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    with file.open("rb") as reader:
        write_file(b"new", file)
        assert reader.read() == b"old and longer"
    after = file.stat()
    assert file.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, there: bool) -> None:
    """Also one that leads nowhere yet."""
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("target")
    write_file(b"new", link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("attributes", "replaced"),
    [
        (["security.selinux"], True),
        (["security.ima", "security.evm", "security.SMACK64"], True),
        (["security.selinux", "system.posix_acl_access"], False),
        (["user.origin"], False),
        (["security.capability"], False),
    ],
)
def test_only_attributes_that_a_new_file_would_lack_prevent_a_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: list[str], replaced: bool
) -> None:
    """On some systems the kernel labels every file, and so labels the new one too."""
    file = tmp_path / "result"
    file.write_bytes(b"old")
    before = file.stat().st_ino
    monkeypatch.setattr(os, "listxattr", lambda _: attributes)
    with file.open("rb"):  # so that its inode number is not used again
        write_file(b"new", file)
    assert file.read_bytes() == b"new"
    assert (file.stat().st_ino != before) == replaced


def test_hard_links_stay_one_file(tmp_path: Path) -> None:
    """Such a file is written in place, and is then no longer than its new content."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"old and longer")
    other.hardlink_to(one)
    write_file(b"new", one)
    assert other.read_bytes() == b"new"
    write_file(b"", one)
    assert other.read_bytes() == b""


def test_a_file_in_a_folder_that_cannot_be_written_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself can be: renaming is refused, writing is not."""
    file = tmp_path / "result"
    file.write_bytes(b"old")
    real = os.open

    def refusing(path: os.PathLike[str], flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refusing)  # root, as which tests may run, is never refused
    write_file(b"new", file)
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("links", [1, 2])
def test_without_space_the_old_file_is_left(tmp_path: Path, links: int) -> None:
    """A result that does not fit harms nothing, and leaves no part of it behind."""
    file = tmp_path / "result"
    file.write_bytes(b"old")
    if links == 2:
        (tmp_path / "other").hardlink_to(file)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, bounds[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_file(b"x" * 5_000, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == links


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    """The FIFO stays, and its reader gets every byte."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_file(b"x" * 200_000, fifo)
    reader.join(10)
    assert got == [b"x" * 200_000]
    assert fifo.is_fifo()


def test_devices_are_written_through() -> None:
    """What a device refuses is an error; none is ever replaced."""
    write_file(b"gone", Path("/dev/null"))
    with pytest.raises(OSError, match="No space left"):
        write_file(b"lost", Path("/dev/full"))
    assert Path("/dev/null").is_char_device()
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/{pid}/fd/{}", "link"])
def test_an_open_descriptor_is_written_where_it_stands(tmp_path: Path, form: str) -> None:
    """Its file is neither replaced nor written from its beginning."""
    file = tmp_path / "file"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before ")
    path = Path(form.format(descriptor, pid=os.getpid()))
    if form == "link":
        path = tmp_path / "link"
        path.symlink_to(f"/dev/fd/{descriptor}")
    assert own_descriptor(path) == descriptor
    write_file(b"result", path)
    os.write(descriptor, b" after")
    os.close(descriptor)
    assert file.read_bytes() == b"before result after"
    assert own_descriptor(file) is None


def test_folders_and_missing_folders_are_errors(tmp_path: Path) -> None:
    """And nothing is made."""
    with pytest.raises(IsADirectoryError):
        write_file(b"x", tmp_path)
    with pytest.raises(FileNotFoundError):
        write_file(b"x", tmp_path / "missing" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything() -> None:
    """Another process that shares a pipe can make it non-blocking: the writer then waits."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = os.urandom(300_000)

    def write() -> None:
        write_all(writing, data)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == data
    writer.join(10)
