"""What every command of `mwctl` has in common, so that none has to say it.

Each option can also be given by an environment variable, MWCTL_ and the option's name. Each command
takes the options of logging, logs to stderr before it does anything else, and ends its help with
examples. Groups name their commands without importing them: `mwctl --help` is quick, and a command
pays for its own imports only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from . import logs

LONGEST: Final = 1e9
"""Seconds, about thirty years: more than anybody means, and still a time every clock can add."""


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
        if not self.least <= seconds <= self.most:  # and so nan is none
            self.fail(f"{value!r}: expected {self.least:g} to {self.most:,g} seconds", param, ctx)
        return seconds


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def _logging_options(level: str) -> list[click.Option]:
    return [
        click.Option(
            ["--log-level"],
            type=click.Choice(logs.LEVELS, case_sensitive=False),
            default=level,
            show_default=True,
            help="The least that is logged, on stderr.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(logs.FORMATS),
            default="text",
            show_default=True,
            help="How each line of the log is written.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_note_debug,
            help="Show the traceback of an unexpected error.",
        ),
    ]


def _note_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).debug = value


@dataclass(slots=True)
class Invocation:
    """What `main` learns of the options of the command it has called; the context's `obj`.

    `json_log` says that whoever reads its stderr expects JSON lines.
    """

    debug: bool = False
    json_log: bool = False


def _variable(option: click.Option) -> str:
    """The environment variable for an option: MWCTL_LOG_LEVEL for --log-level."""
    long = max(option.opts, key=len)
    return "MWCTL_" + long.removeprefix("--").replace("-", "_").upper()


class Command(click.Command):
    """A command of `mwctl`. `examples` are command lines, `log_level` is its default."""

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), log_level: str = "warning", **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.examples = examples
        self.params += _logging_options(log_level)
        for option in self.params:
            if isinstance(option, click.Option):
                option.envvar = _variable(option)
                option.show_envvar = True

    def invoke(self, ctx: click.Context) -> Any:
        form = ctx.params.pop("log_format")
        ctx.ensure_object(Invocation).json_log = form == "json"
        logs.start(ctx.params.pop("log_level"), form)
        return super().invoke(ctx)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet: the module of this package that has it, and one line."""

    module: str
    short_help: str


class Group(click.Group):
    """A group of commands, those in `lazy` imported when they are used and not before."""

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

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f".{self.lazy[cmd_name].module}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, lazy.short_help) for name, lazy in self.lazy.items()]
        rows += [
            (name, command.get_short_help_str(limit=80)) for name, command in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)


hosts_option = click.option(
    "--hosts",
    default="127.0.0.1:2181",
    show_default=True,
    metavar="HOST:PORT[,...][/CHROOT]",
    help="The ZooKeeper servers, and the path below which the cluster lies.",
)

key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The keys of payloads that are encrypted.",
)

session_timeout_option = click.option(
    "--session-timeout",
    type=Seconds(0.1, 3600.0),
    default=10.0,
    show_default=True,
    help="The silence after which ZooKeeper gives this process up.",
)
