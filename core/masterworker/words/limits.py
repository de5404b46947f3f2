"""All limits in one place, so that a reader can add them up.

The checks of those that users can exceed follow; each error says what to do instead.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Final

from .errors import PayloadTooLarge, Refused

JUTE_MAXBUFFER: Final = 0xFFFFF
"""Bytes. ZooKeeper's default limit for one request; beyond it the server closes the connection.
Source: the `jute.maxbuffer` option of the ZooKeeper administrator's guide."""

MAX_PAYLOAD: Final = 900_000
"""Maximum bytes of a task's payload or result. A record of this size still fits into one request
if it is sealed and has the largest header and the longest path."""

MAX_SEAL: Final = 10_000
"""Maximum bytes that sealing adds to a result, or to a payload, which then includes the options."""

MAX_HEADER: Final = 65_535
"""Maximum bytes of a record's header, whose length field has two bytes."""

BATCH_COUNT: Final = 250
"""Operations in one `multi`. Beyond about 100, the cost per operation no longer falls
(docs/protocol.md, "What things cost")."""

BATCH_BYTES: Final = 512 * 1024
"""Bytes in one `multi` of several items; a single item may be larger, up to a full record."""

READ_COUNT: Final = 64
"""Znodes in one multi-read. Their sizes are known only after the read, and large ones may follow
small ones: a server with a heap of 512 MB answers 64 znodes of 900 kB, but fails on 100."""

READ_BYTES: Final = 4 * 1024 * 1024
"""Target size in bytes of the reply to one multi-read; the count adapts to the sizes seen."""

IN_FLIGHT: Final = 8
"""Maximum number of requests that one role keeps under way."""

CLIENT_WINDOW: Final = 4
"""Maximum number of batches that one client keeps under way; each expects the ledger version that
its predecessor creates. Other writers of a ledger increase its version by more than that."""

MAX_COUNT: Final = 2**53
"""The largest number in a ledger: up to it, every JSON parser counts exactly."""

MAX_ATTEMPTS: Final = 16
"""Maximum number of attempts of a task: its whole history must fit into its header."""

MAX_LOSSES: Final = 5
"""Number of lost workers after which a task is given up as `lost`: a task that kills its worker
must not kill them all."""

MAX_DETAIL: Final = 2_000
"""Maximum bytes of evidence of one attempt: the line with the reason, and the details' end."""

MAX_OPTIONS: Final = 32
"""Maximum number of options of one task."""

MAX_OPTION_BYTES: Final = 8_000
"""Maximum bytes of all options of one task together; the longest history still fits beside them."""

MAX_TEXT: Final = 1_000
"""Maximum characters of informational text, such as a host's name or a version."""

LATEST: Final = 1e12
"""The latest time in a record, in seconds since the epoch."""

MAX_REASON: Final = 400
"""Maximum bytes of the reason why one of a worker's executors is unavailable."""

MAX_REASONS: Final = 16_000
"""Maximum bytes of all these reasons of one worker; the most executors still fit beside them."""

MAX_NAME: Final = 200
"""Maximum characters of a znode's name."""

MAX_EXECUTOR_NAME: Final = 64
"""Maximum characters of an executor's name."""

MAX_KEY_ID: Final = 32
"""Maximum characters of a key's id."""

MAX_KEYS: Final = 16
"""Maximum number of keys in a key file, and so of a worker."""

MAX_EXECUTORS: Final = 256
"""Maximum number of executors of one worker."""

MAX_SLOTS: Final = 10_000
"""Maximum number of slots of one worker."""

INLINE_SLOTS: Final = 4_000
"""Slots for inline attempts that a worker adds to its process slots when `--slots` is not given.
Trivial attempts need no processor of their own, and many slots keep the batches large."""

BOOK_SLOTS: Final = 8
"""Slots of a worker that knows only the book's protocol, which does not announce a number."""


def most_bytes(sealed: str) -> int:
    """The maximum bytes of a payload or result; `sealed` names the key if it is sealed."""
    return MAX_PAYLOAD + MAX_SEAL if sealed else MAX_PAYLOAD


def shown(value: object) -> str:
    """A value for an error message, of limited length however large or deep it is."""
    try:
        return f"{reprlib.repr(value):.100}"
    except Exception:  # noqa: BLE001 - an int of 5,000 digits, or an object whose repr raises
        return f"a {type(value).__name__}"


def check_payload(payload: bytes, what: str, sealed: str = "") -> None:
    """Raise PayloadTooLarge if `payload` does not fit into a znode; `what` starts the message."""
    check_size(len(payload), what, sealed)


def check_size(size: int, what: str, sealed: str = "") -> None:
    """Like `check_payload`, for a payload of `size` bytes."""
    if size > most_bytes(sealed):
        raise PayloadTooLarge(
            f"{what} has {size:,} bytes, but the limit is {MAX_PAYLOAD:,} bytes, because ZooKeeper "
            "accepts about 1 MB per request. Store the data elsewhere and use a reference to it"
        )


def check_attempts(attempts: int) -> None:
    """Raise TypeError or Refused for an invalid number of attempts."""
    if type(attempts) is not int:  # True is an int, but not a number of attempts
        raise TypeError(f"attempts={shown(attempts)}: expected a whole number, or None")
    if not 1 <= attempts <= MAX_ATTEMPTS:
        raise Refused(f"attempts={shown(attempts)}: expected 1 to {MAX_ATTEMPTS}")


def is_time(seconds: object) -> bool:
    """Whether these are seconds since the epoch that a record can hold; nan is not."""
    return type(seconds) in (int, float) and 0 <= seconds < LATEST  # type: ignore[operator]


def recorded_time(seconds: float) -> float:
    """The nearest time that a record can contain.

    Times in records are only informational, so a wrong clock is no reason to refuse a task.
    """
    if is_time(seconds):
        return seconds
    return LATEST - 1.0 if seconds > 0 else 0.0


def recorded_text(text: str) -> str:
    """Informational text in the form that a record can hold."""
    return text.encode(errors="replace").decode()[:MAX_TEXT]


def printable(text: str) -> str:
    """At most MAX_TEXT characters of a text, with '?' for each one that is not printable."""
    return "".join(one if one.isprintable() else "?" for one in text[:MAX_TEXT])


def check_options(options: Mapping[str, str]) -> None:
    """Raise TypeError or Refused if these options are invalid."""
    if not isinstance(options, Mapping):
        raise TypeError(f"options={shown(options)}: expected a mapping of text to text")
    texts = [*options, *options.values()]
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"options contain {shown(text)}: expected only text. Put other data into the "
                "payload"
            )
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError as error:
        raise Refused(f"option {shown(error.object)} is not Unicode text: {error.reason}") from None
    if len(options) > MAX_OPTIONS or size > MAX_OPTION_BYTES:
        raise Refused(
            f"the task has {len(options)} options with {size:,} bytes, but the limits are "
            f"{MAX_OPTIONS} options and {MAX_OPTION_BYTES:,} bytes. Put the data into the payload"
        )
