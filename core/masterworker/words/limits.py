"""The bounds everything keeps to. One place, so that a reader can add them up.

Behind them are the checks of those that users meet: an error says what to do instead.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Final

from .errors import PayloadTooLarge, Refused

JUTE_MAXBUFFER: Final = 0xFFFFF
"""Bytes. ZooKeeper's default bound for one request; over it the server drops the connection.
Source: the `jute.maxbuffer` option of the ZooKeeper administrator's guide."""

MAX_PAYLOAD: Final = 900_000
"""Bytes of a task's payload or result. Sealed, and with the largest header and the largest path
around it, a record this big still fits into one request."""

MAX_SEAL: Final = 10_000
"""Bytes by which sealing may lengthen a payload, which then has the options in it, or a result."""

MAX_HEADER: Final = 65_535
"""Bytes of a record's header: the most that its two-byte length field can say."""

BATCH_COUNT: Final = 250
"""Operations in one `multi`. Beyond about 100 the cost per operation no longer
falls (docs/protocol.md, "What things cost")."""

BATCH_BYTES: Final = 512 * 1024
"""Bytes in one `multi` of several items; one item alone may be larger, up to a full record."""

READ_COUNT: Final = 64
"""Znodes in one multi-read. Their sizes are known only afterwards, and small ones may be followed
by large ones: a server with a heap of 512 MB answers 64 znodes of 900 kB, and dies of 100."""

READ_BYTES: Final = 4 * 1024 * 1024
"""Bytes aimed at in the reply to one multi-read; the count is adapted to the sizes met."""

IN_FLIGHT: Final = 8
"""Requests one role keeps under way at a time."""

CLIENT_WINDOW: Final = 4
"""Batches one client keeps under way, each expecting the ledger's version that the one before it
makes. Any other writer of a ledger moves its version on by more than that."""

MAX_COUNT: Final = 2**53
"""The largest number a ledger holds: up to it, every program that reads JSON counts exactly."""

MAX_ATTEMPTS: Final = 16
"""The most attempts a task may ask for: its whole history must fit into its header."""

MAX_LOSSES: Final = 5
"""How many workers may die under a task before it is given up as `lost`: a task that kills its
worker must not kill them all."""

MAX_DETAIL: Final = 2_000
"""Bytes of evidence kept of one attempt: a line that says why, and the end of what follows it."""

MAX_OPTIONS: Final = 32
"""Options one task may carry for its executor."""

MAX_OPTION_BYTES: Final = 8_000
"""Bytes of all the options of one task together: beside them, the longest history fits."""

MAX_TEXT: Final = 1_000
"""Characters of a text that only people read: a host's name, a version."""

LATEST: Final = 1e12
"""Seconds since the epoch beyond which nothing of ours happens."""

MAX_REASON: Final = 400
"""Bytes of the reason why a worker does not offer one of its executors."""

MAX_REASONS: Final = 16_000
"""Bytes of all the reasons of one worker together: beside them, the most executors fit."""

MAX_NAME: Final = 200
"""Characters of a znode's name."""

MAX_EXECUTOR_NAME: Final = 64
"""Characters of an executor's name."""

MAX_KEY_ID: Final = 32
"""Characters of a key's id."""

MAX_KEYS: Final = 16
"""Keys in one key file, and so of one worker."""

MAX_EXECUTORS: Final = 256
"""Executors one worker may offer."""

MAX_SLOTS: Final = 10_000
"""Slots one worker may offer."""

INLINE_SLOTS: Final = 4_000
"""Slots for inline attempts that a worker adds to its process slots when `--slots` is not given: a
trivial attempt needs no processor of its own, and a full batch keeps the batches large."""

BOOK_SLOTS: Final = 8
"""Tasks given at a time to a worker that knows only the book's protocol, which says no number."""


def most_bytes(sealed: str) -> int:
    """How long a payload or result can be; `sealed` names the key if it is sealed."""
    return MAX_PAYLOAD + MAX_SEAL if sealed else MAX_PAYLOAD


def shown(value: object) -> str:
    """A value as an error shows it: bounded, however large or deep it is."""
    try:
        return f"{reprlib.repr(value):.100}"
    except Exception:  # noqa: BLE001 - an int of 5,000 digits, or any object with ideas of its own
        return f"a {type(value).__name__}"


def check_payload(payload: bytes, what: str, sealed: str = "") -> None:
    """Raise PayloadTooLarge if `payload` cannot stand in one znode; `what` begins the message."""
    check_size(len(payload), what, sealed)


def check_size(size: int, what: str, sealed: str = "") -> None:
    """The same, for a payload of `size` bytes."""
    if size > most_bytes(sealed):
        raise PayloadTooLarge(
            f"{what} has {size:,} bytes, and the limit is {MAX_PAYLOAD:,} bytes "
            "(ZooKeeper takes about 1 MB a request): store the data elsewhere and submit its name"
        )


def check_attempts(attempts: int) -> None:
    """Raise TypeError or Refused if a task cannot be allowed so many attempts."""
    if type(attempts) is not int:  # True is an int, and no number of attempts
        raise TypeError(f"attempts={shown(attempts)}: expected a whole number, or None")
    if not 1 <= attempts <= MAX_ATTEMPTS:
        raise Refused(f"attempts={shown(attempts)}: a task can have 1 to {MAX_ATTEMPTS}")


def is_time(seconds: object) -> bool:
    """Whether these are seconds since the epoch as a record can hold them; nan is not."""
    return type(seconds) in (int, float) and 0 <= seconds < LATEST  # type: ignore[operator]


def recorded_time(seconds: float) -> float:
    """The nearest time that a record can hold: a clock may be set to before 1970.

    Times in records serve people only, so an odd clock is no reason to refuse a task.
    """
    if is_time(seconds):
        return seconds
    return LATEST - 1.0 if seconds > 0 else 0.0


def recorded_text(text: str) -> str:
    """A text that only people read, as a record can hold it."""
    return text.encode(errors="replace").decode()[:MAX_TEXT]


def printable(text: str) -> str:
    """A text of at most MAX_TEXT characters in which each one that does not print is a '?'."""
    return "".join(one if one.isprintable() else "?" for one in text[:MAX_TEXT])


def check_options(options: Mapping[str, str]) -> None:
    """Raise TypeError or Refused if a task cannot carry these options."""
    if not isinstance(options, Mapping):
        raise TypeError(f"options={shown(options)}: expected a mapping of text to text")
    texts = [*options, *options.values()]
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"{shown(text)} in a task's options, which map text to text: put anything else "
                "into the payload"
            )
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError as error:
        raise Refused(f"option {shown(error.object)} is not Unicode text: {error.reason}") from None
    if len(options) > MAX_OPTIONS or size > MAX_OPTION_BYTES:
        raise Refused(
            f"{len(options)} options with {size:,} bytes; the limits are "
            f"{MAX_OPTIONS} options and {MAX_OPTION_BYTES:,} bytes: "
            "put the data into the payload"
        )
