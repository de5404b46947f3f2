"""The log on stderr: one line of bounded length per record.

Records contain untrusted text, such as the names of tasks and workers. Control characters are
escaped, so that a record can neither forge a log line nor control a terminal.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from datetime import UTC, datetime
from typing import Final

from .log_writer import FLUSH_SECONDS, LogWriter

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

MAX_LINE: Final = 2_000
"""Maximum number of characters of a record's message, including its traceback."""


def start(level: str, form: str) -> None:
    """Start logging records of at least `level` to stderr, in the format `form`.

    kazoo's records below WARNING are never logged, because at DEBUG they contain credentials and
    payloads. At level `warning`, only kazoo's errors are logged: the command reports problems
    itself.
    """
    handler = LogWriter(2)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kazoo").setLevel(
        logging.WARNING if root.level <= logging.INFO else logging.ERROR
    )


def finish() -> None:
    """Write the last lines before the process ends, and close the handlers, for a bounded time.

    This does not run on the calling thread, because a plugin's handler may hang.
    """
    thread = threading.Thread(target=logging.shutdown, name="last-logs", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread can be started
        thread.start()
        thread.join(FLUSH_SECONDS)


def escape(text: str, keep: str = "") -> str:
    """The text with every non-printable character escaped, except those in `keep`."""
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shorten(text: str, most: int = MAX_LINE) -> str:
    """The start and end of a text, at most `most` characters: a traceback ends with the error."""
    if len(text) <= most:
        return text
    gap = f" [{len(text) - most:,} characters omitted] "
    half = (most - len(gap)) // 2
    return text[:half] + gap + text[-half:]


class TextFormatter(logging.Formatter):
    """`2030-01-31T12:00:00.000Z INFO masterworker.roles.master: message`."""

    def format(self, record: logging.LogRecord) -> str:
        message = shorten(escape(shorten(_message(record))))
        return f"{_time(record)} {record.levelname} {record.name}: {message}"


class JsonFormatter(logging.Formatter):
    """A JSON object with `time`, `level`, `logger`, `message` and the record's own fields.

    A record passes its fields, numbers and short texts, as `extra={"fields": {...}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            key: shorten(value) if isinstance(value, str) else value
            for key, value in getattr(record, "fields", {}).items()
        }
        return json.dumps(
            {
                **fields,
                "time": _time(record),
                "level": record.levelname,
                "logger": record.name,
                "message": shorten(_message(record)),
            }
        )


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + logging.Formatter().formatException(record.exc_info)
    return message
