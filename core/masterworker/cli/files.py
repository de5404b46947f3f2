"""Writing a result to a file, a device, a pipe or an open descriptor.

A regular file is written under a temporary name and then renamed, so that it is never partial. An
existing file keeps its mode and owner. A symbolic link stays, and its target is replaced. If
renaming would lose something (other hard links, access lists, a mounted file system) or is not
permitted, the file is overwritten in place, after space was reserved. Anything else is opened and
written to.

When a function here returns, the data has been synced to disk.
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
"""The path of an open descriptor, after resolving the links before it."""

_LINKS: Final = 40
"""Maximum number of symbolic links to follow, as in the kernel."""

_LABELS: Final = frozenset({"security.selinux", "security.SMACK64", "security.ima", "security.evm"})
"""Attributes that the kernel, if its policy has them, gives to every file, also to a new one."""

_IN_PLACE: Final = {
    errno.EACCES,  # the folder is not writable
    errno.EPERM,  # the folder is sticky or immutable, or the owner cannot be set on the new file
    errno.EROFS,  # the file is writable, but its folder is on a read-only file system
    errno.EBUSY,  # a file system is mounted on the file
}
"""Errors of replacing a file that do not occur when it is overwritten in place."""


def write_file(data: bytes, file: Path) -> None:
    """Replace a file's content with these bytes. Raises OSError."""
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
    """Write all bytes, even to a pipe that another process has made non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def sync(descriptor: int) -> None:
    """Sync a regular file to disk. Does nothing for any other descriptor."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)


def own_descriptor(file: Path) -> int | None:
    """The descriptor that a path such as /dev/stdout or /dev/fd/3 refers to in this process."""
    match = _DESCRIPTOR.fullmatch(_followed(file))
    if match is None or match[1] not in ("self", "thread-self", str(os.getpid())):
        return None
    return int(match[2])


def _is_descriptor(file: Path) -> bool:
    return _DESCRIPTOR.fullmatch(_followed(file)) is not None


def _followed(file: Path) -> str:
    """The path with its links resolved, up to the link of an open descriptor."""
    path = os.fspath(file)
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        # Not realpath for the whole path: it would resolve /proc/self/fd/N to the file behind it.
        path = os.path.join(os.path.realpath(folder or "."), name)  # noqa: PTH118 - text, not Path
        if _DESCRIPTOR.fullmatch(path) or not os.path.islink(path):  # noqa: PTH114
            break
        path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120
    return path


def _has_attributes(file: Path) -> bool:
    """Whether the file has access lists or other extended attributes that a new file lacks."""
    try:
        return not _LABELS.issuperset(os.listxattr(file))
    except (OSError, AttributeError):  # not supported by the file system or the platform
        return False


def _write_through(data: bytes, file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_NOCTTY)
    try:
        write_all(descriptor, data)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(data: bytes, file: Path, size: int) -> None:
    """Overwrite a file of this size in place. If there is no space, it is left unchanged."""
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
    """Create a file, or replace `old` and keep its owner and mode."""
    part = file.with_name(f".mwctl-{secrets.token_hex(8)}")
    mode = 0o666 if old is None else 0o600  # the umask applies to a new file
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            if old is not None:
                _copy_ownership(descriptor, old)
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def _copy_ownership(descriptor: int, old: os.stat_result) -> None:
    """Give a file the owner and mode of another file."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Sync a folder to disk, where the file system supports that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
