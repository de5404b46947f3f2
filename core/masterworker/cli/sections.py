"""Options that many commands share: their help sections, and their use before a command.

A command's help shows its own options first, then the sections `Connection` and `Logging`. Options
of these sections can also be given to `mwctl` or a group, before the command:
`mwctl --hosts zk1:2181 status` is equivalent to `mwctl status --hosts zk1:2181`. An option after
the command takes precedence. A command ignores earlier options that it does not support.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final

import click

_GIVEN: Final = f"{__name__}.given"
"""The key in a context's `meta` for the options given before the command."""


class SharedOption(click.Option):
    """An option of many commands. `section` is its heading in the help."""

    section: ClassVar[str]


class ConnectionOption(SharedOption):
    """An option for the connection to ZooKeeper."""

    section = "Connection"


class LoggingOption(SharedOption):
    """An option for logging."""

    section = "Logging"


SECTIONS: Final = (ConnectionOption.section, LoggingOption.section)


def before_the_command(options: Iterable[click.Parameter]) -> Iterator[click.Option]:
    """Hidden options for a group, which pass their values on to the command."""
    for option in options:
        if isinstance(option, SharedOption):
            yield click.Option(
                [max(option.opts, key=len)],
                is_flag=option.is_flag,
                default=False if option.is_flag else None,
                multiple=not option.is_flag,
                hidden=True,
                expose_value=False,
                callback=_note,
            )


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    [name] = param.opts
    given = ctx.meta.setdefault(_GIVEN, [])
    given += [(name,)] if value is True else [(name, one) for one in value or ()]


def with_given(
    ctx: click.Context, options: Sequence[click.Parameter], args: list[str]
) -> list[str]:
    """A command's arguments, preceded by the options before it that the command supports."""
    own = {name for option in options for name in option.opts}
    given = [one for one in ctx.meta.get(_GIVEN, ()) if one[0] in own]
    return ["=".join(one) for one in given] + args


def write_options(
    ctx: click.Context, options: Sequence[click.Parameter], formatter: click.HelpFormatter
) -> None:
    """Write a command's own options, then the options of each section."""
    rows: dict[str, list[tuple[str, str]]] = {"Options": [], **{name: [] for name in SECTIONS}}
    for option in options:
        if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
            rows[getattr(option, "section", "Options")].append(record)
    for title, records in rows.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
