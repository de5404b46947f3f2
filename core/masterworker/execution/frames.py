"""Frames: how a worker and its child processes talk, over one pipe in each direction.

A frame is its length in four bytes and a msgpack map of that length. Neither side trusts the
length it reads: a frame has room for the largest znode and its description, and no more.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ..words import limits

LENGTH: Final = struct.Struct("!I")

MAX_FRAME: Final = limits.JUTE_MAXBUFFER + limits.MAX_HEADER
"""Bytes of a frame without its length: a book client's task can fill a whole znode."""


class BadFrame(ValueError):
    """Bytes that are no frame, or a message too long for one."""


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as a frame. Raises BadFrame if too long, TypeError if not plain data."""
    packed: bytes = msgpack.packb(message)
    return LENGTH.pack(_check(len(packed))) + packed


def length(prefix: bytes) -> int:
    """How many bytes follow this prefix of `LENGTH.size` bytes."""
    (following,) = LENGTH.unpack(prefix)
    return _check(following)


def unpack(packed: bytes) -> dict[str, Any]:
    """The message of a frame, without its prefix."""
    try:
        message = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame(f"not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise BadFrame(f"a {type(message).__name__}, not a map")
    return message


def _check(size: int) -> int:
    if size > MAX_FRAME:
        raise BadFrame(f"{size:,} bytes; a frame has at most {MAX_FRAME:,}")
    return size
