"""The log on stderr: one bounded line per record, whatever the data in it holds.

What is logged names tasks, workers and texts that others chose. Control characters are written as
escapes, so that no line can forge another or drive a terminal.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

from .log_writer import LogWriter

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

MAX_LINE: Final = 2_000
"""Characters kept of one record's message, with its traceback."""


def start(level: str, form: str) -> None:
    """Log to stderr from now on: records from `level` upwards, as `form` says.

    kazoo is never heard below WARNING, since at DEBUG it logs credentials and payloads; and only
    its errors by a command that logs no more than warnings, which says itself what went wrong.
    """
    handler = LogWriter(2)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kazoo").setLevel(
        logging.WARNING if root.level <= logging.INFO else logging.ERROR
    )


def escape(text: str, keep: str = "") -> str:
    """The text with every character that does not print written as an escape, except `keep`."""
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shorten(text: str, most: int = MAX_LINE) -> str:
    """At most `most` characters of a text, with both its ends: a traceback's point is its end."""
    if len(text) <= most:
        return text
    gap = f" [{len(text) - most:,} characters left out] "
    half = (most - len(gap)) // 2
    return text[:half] + gap + text[-half:]


class TextFormatter(logging.Formatter):
    """`2030-01-31T12:00:00.000Z INFO masterworker.roles.master: message`."""

    def format(self, record: logging.LogRecord) -> str:
        message = shorten(escape(shorten(_message(record))))
        return f"{_time(record)} {record.levelname} {record.name}: {message}"


class JsonFormatter(logging.Formatter):
    """An object with `time`, `level`, `logger` and `message`, and the fields of a record.

    Those come as `extra={"fields": {...}}`, numbers and short texts.
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
