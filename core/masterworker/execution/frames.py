"""Frames: the messages between a worker and its child processes, over one pipe in each direction.

A frame is a four-byte length and a msgpack map of that length. Neither side trusts the length it
reads: a frame is limited to the size of the largest znode and its header.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ..words import limits

LENGTH: Final = struct.Struct("!I")

MAX_FRAME: Final = limits.JUTE_MAXBUFFER + limits.MAX_HEADER
"""Maximum bytes of a frame without its length: a book client's task can fill a whole znode."""


ANSWER_ENTRIES: Final = 8
"""Maximum entries of a list or map in an answer. A child runs an executor's code, and memory is
reserved for the length that a list claims: nested lists must not add up to much."""


class BadFrame(ValueError):
    """Bytes that are not a frame, or a message too long for one."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Serialize a message as a frame. Raises BadFrame if too long, TypeError if not plain data."""
    packed: bytes = msgpack.packb(message)
    return LENGTH.pack(_check(len(packed))) + packed


def length(prefix: bytes) -> int:
    """The number of bytes that follow this prefix of `LENGTH.size` bytes."""
    (following,) = LENGTH.unpack(prefix)
    return _check(following)


def unpack(packed: bytes, entries: int = MAX_FRAME) -> dict[str, Any]:
    """The message of a frame without its prefix. Raises BadFrame if it is invalid.

    `entries` is the maximum number of entries of a list or map.
    """
    try:
        message = msgpack.unpackb(packed, max_array_len=entries, max_map_len=entries, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame(f"not msgpack: {error}") from error
    if not isinstance(message, dict):
        raise BadFrame(f"a {type(message).__name__}, not a map")
    return message


def _check(size: int) -> int:
    if size > MAX_FRAME:
        raise BadFrame(f"{size:,} bytes; a frame has at most {MAX_FRAME:,}")
    return size
