"""Writing a result to a file, a device, a pipe or an open descriptor.

A plain file is written under a temporary name and renamed, so that it is there whole or not at all.
An existing file keeps its mode and owner; a symbolic link stays, and its target is replaced. Where
renaming would lose something (other hard links, access lists, a file system mounted there) or is
not allowed, the file is written in place, after its space was reserved. Everything else is opened
and written to.

When a function here returns, the bytes are on the disk, as far as the system can tell.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import select
import stat
from pathlib import Path
from typing import Final

_DESCRIPTOR: Final = re.compile(r"/proc/(\d+|self|thread-self)(?:/task/\d+)?/fd/(\d+)")
"""The path of an open descriptor, once all links before it are followed."""

_LINKS: Final = 40
"""Symbolic links that are followed, as by the kernel."""

_IN_PLACE: Final = {
    errno.EACCES,  # the folder is read-only for us
    errno.EPERM,  # the folder is sticky or immutable, or the file has an owner we cannot give it
    errno.EROFS,  # only the file is on a file system that can be written
    errno.EBUSY,  # a file system is mounted on the file
}
"""Errors of the replacement of a file that its own descriptor does not have."""


def write_file(data: bytes, file: Path) -> None:
    """Write exactly these bytes to a file, in place of what it held. Raises OSError."""
    if (descriptor := own_descriptor(file)) is not None:
        write_all(descriptor, data)
        sync(descriptor)
        return
    try:
        found = file.stat()
    except FileNotFoundError:
        _replace(data, Path(os.path.realpath(file)), None)
        return
    if not stat.S_ISREG(found.st_mode) or _is_descriptor(file):
        _write_through(data, file)
    elif found.st_nlink > 1 or _has_attributes(file):
        _overwrite(data, file, found.st_size)
    else:
        try:
            _replace(data, Path(os.path.realpath(file)), found)
        except OSError as error:
            if error.errno not in _IN_PLACE:
                raise
            _overwrite(data, file, found.st_size)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all the bytes, also to a pipe that another process has made non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def sync(descriptor: int) -> None:
    """Put what was written to a plain file onto the disk; nothing if it is none."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)


def own_descriptor(file: Path) -> int | None:
    """The descriptor of this process that a path such as /dev/stdout or /dev/fd/3 stands for."""
    match = _DESCRIPTOR.fullmatch(_followed(file))
    if match is None or match[1] not in ("self", "thread-self", str(os.getpid())):
        return None
    return int(match[2])


def _is_descriptor(file: Path) -> bool:
    return _DESCRIPTOR.fullmatch(_followed(file)) is not None


def _followed(file: Path) -> str:
    """The path, its links followed, except that of an open descriptor: it leads to its file."""
    path = os.fspath(file)
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        # Not realpath for /proc/self: it would be resolved to the number of this process.
        path = os.path.join(os.path.realpath(folder or "."), name)  # noqa: PTH118 - text, not Path
        if _DESCRIPTOR.fullmatch(path) or not os.path.islink(path):  # noqa: PTH114
            break
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120
    return path


def _has_attributes(file: Path) -> bool:
    """Whether the file has access lists or other attributes, which a new file would not have."""
    try:
        return bool(os.listxattr(file))
    except (OSError, AttributeError):  # the file system, or the system, has none
        return False


def _write_through(data: bytes, file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_NOCTTY)
    try:
        write_all(descriptor, data)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(data: bytes, file: Path, size: int) -> None:
    """Write over a file of this size. If there is no space, it is left as it was."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        try:
            if data:
                os.posix_fallocate(descriptor, 0, len(data))
        except OSError as error:
            os.ftruncate(descriptor, size)
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        write_all(descriptor, data)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(data: bytes, file: Path, old: os.stat_result | None) -> None:
    """Put a new file in the place of `old`, or where none is, with the mode that it should have."""
    part = file.with_name(f".mwctl-{secrets.token_hex(8)}")  # as short as it is unlikely
    mode = 0o666 if old is None else 0o600  # of a new one the umask decides
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            if old is not None:
                _take_after(descriptor, old)
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def _take_after(descriptor: int, old: os.stat_result) -> None:
    """Give a file the owner and the mode of another."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Put a new name onto the disk too, where folders can be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
