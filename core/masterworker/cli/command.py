"""Behavior that all `mwctl` commands share.

Every option except a filter can also be set by an environment variable, MWCTL_ plus the option's
name. Each command takes the logging options, starts logging to stderr before it does anything else,
and ends its help with examples. Groups import a command only when it is used, so `mwctl --help` is
quick and a command pays only for its own imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click

from ..roles.environment import DEFAULT_HOSTS
from . import logs
from .login import login_options
from .sections import (
    ConnectionOption,
    LoggingOption,
    before_the_command,
    with_given,
    write_options,
)

LONGEST: Final = 1e9
"""Seconds, about thirty years: longer than any real wait, and still safe to add to any clock."""


class Seconds(click.types.FloatParamType):
    """A number of seconds from `least` to `most`."""

    name = "seconds"

    def __init__(self, least: float = 0.0, most: float = LONGEST) -> None:
        self.least = least
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not self.least <= seconds <= self.most:  # also rejects NaN
            self.fail(f"{value!r}: expected {self.least:g} to {self.most:,g} seconds", param, ctx)
        return seconds


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def _logging_options(level: str) -> list[click.Option]:
    return [
        LoggingOption(
            ["--log-level"],
            type=click.Choice(logs.LEVELS, case_sensitive=False),
            default=level,
            show_default=True,
            metavar="LEVEL",
            help="Minimum log level: debug, info, warning or error.",
        ),
        LoggingOption(
            ["--log-format"],
            type=click.Choice(logs.FORMATS),
            default="text",
            show_default=True,
            metavar="FORMAT",
            help="Log lines as text or json.",
        ),
        LoggingOption(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_note_debug,
            help="Show the traceback of an unexpected error.",
        ),
    ]


def _note_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).debug = value


class Interrupted(BaseException):
    """Ctrl-C during a command. click would write to stderr on its own, which may be closed."""


@dataclass(slots=True)
class Invocation:
    """Options of the called command that `main` needs; the context's `obj`.

    `json_log` means that errors on stderr must be JSON log lines, `runs_plugins` that plugin code
    has run in this process.
    """

    debug: bool = False
    json_log: bool = False
    runs_plugins: bool = False


class FilterOption(click.Option):
    """An option that selects what is listed. No environment variable sets it.

    Filters share their names with options of other commands: an MWCTL_EXECUTOR set for a worker
    must not hide tasks from a list.
    """


def _long(option: click.Option) -> str:
    return max(option.opts, key=len)


def _variable(option: click.Option) -> str:
    """The environment variable for an option: MWCTL_LOG_LEVEL for --log-level."""
    return "MWCTL_" + _long(option).removeprefix("--").replace("-", "_").upper()


def _about_variables(options: Sequence[click.Parameter]) -> str:
    """The sentence about environment variables in the help of a command with these options."""
    text = (
        "Every option can also be set by an environment variable: MWCTL_ plus the option's name, "
        "such as MWCTL_HOSTS."
    )
    filters = [_long(option) for option in options if isinstance(option, FilterOption)]
    return f"{text} Exceptions: {', '.join(filters)}." if filters else text


class Command(click.Command):
    """An `mwctl` command. `examples` are command lines, `log_level` is the default log level."""

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), log_level: str = "warning", **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.examples = examples
        self.params += _logging_options(log_level)
        for option in self.params:
            if isinstance(option, click.Option) and not isinstance(option, FilterOption):
                option.envvar = _variable(option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_given(ctx, self.params, args))

    def invoke(self, ctx: click.Context) -> Any:
        form = ctx.params.pop("log_format")
        ctx.ensure_object(Invocation).json_log = form == "json"
        logs.start(ctx.params.pop("log_level"), form)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(ctx, self.get_params(ctx), formatter)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)
        formatter.write_paragraph()
        formatter.write_text(_about_variables(self.params))


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet: its module in this package, and its line of help."""

    module: str
    short_help: str


class Group(click.Group):
    """A group of commands. Those in `lazy` are imported when they are used."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, Lazy] | None = None,
        examples: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.lazy = lazy or {}
        self.examples = examples
        self.params += before_the_command(_shared.params)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f".{self.lazy[cmd_name].module}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            meant = self._meant(ctx, args[0])
            hint = f" Did you mean `{meant}`?" if meant else ""
            ctx.fail(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        """The command probably meant by a mistyped name; empty if none is close."""
        for close in get_close_matches(name, self.list_commands(ctx), 1):
            return f"{ctx.command_path} {close}"
        deeper = (path for path, last in self._below(ctx) if last == name)
        return next(deeper, "")

    def _below(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """The commands of this group's subgroups: the full command path, and its last word."""
        for group in self.list_commands(ctx):
            command = self.get_command(ctx, group)
            if isinstance(command, click.Group):
                for name in command.list_commands(ctx):
                    yield f"{ctx.command_path} {group} {name}", name

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, lazy.short_help) for name, lazy in self.lazy.items()]
        rows += [
            (name, command.get_short_help_str(limit=80)) for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)
        formatter.write_paragraph()
        formatter.write_text(
            "You can put connection and logging options, such as --hosts, before or after the "
            f"command. {_about_variables(())}"
        )


hosts_option = click.option(
    "--hosts",
    cls=ConnectionOption,
    default=DEFAULT_HOSTS,
    show_default=True,
    metavar="HOSTS",
    help="ZooKeeper servers, and the path of the cluster: HOST:PORT[,...][/PATH].",
)

key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the keys of encrypted payloads.",
)

session_timeout_option = click.option(
    "--session-timeout",
    cls=ConnectionOption,
    type=Seconds(0.1, 3600.0),
    default=10.0,
    show_default=True,
    help="Time without contact after which ZooKeeper ends this process's session.",
)


@click.command(params=_logging_options(""))
@hosts_option
@login_options
@session_timeout_option
def _shared(**_: Any) -> None:
    """A command that has all the shared options and no others."""
