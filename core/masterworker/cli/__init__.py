"""`mwctl`: the command line, and the one place where an error becomes a message and an exit code.

Data goes to stdout, everything else to stderr. The commands raise; nothing but `main` catches what
ends them.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click

from .. import __version__
from ..words.errors import MasterworkerError
from .command import Group, Invocation, Lazy
from .output import complain

INTERRUPTED: Final = 130
"""Ended by SIGINT, as shells count it."""


@click.command(
    cls=Group,
    lazy={
        "master": Lazy("serving", "Run a master."),
        "worker": Lazy("serving", "Run a worker."),
        "dev": Lazy("dev", "Run a whole cluster on this machine, for development."),
        "submit": Lazy("submitting", "Submit tasks, and wait for their results if asked to."),
        "tasks": Lazy("tasks", "Look at tasks."),
        "status": Lazy("looking", "Show masters, workers and how many tasks there are."),
        "audit": Lazy("looking", "Check that no task was lost or recorded twice."),
        "acl": Lazy("acl", "Say who may do what in ZooKeeper, and see whether it is so."),
        "keys": Lazy("keys", "Make keys for the encryption of payloads."),
        "plugins": Lazy("plugins", "Look at the installed plugins."),
    },
    examples=[
        "mwctl dev --executor echo",
        "mwctl submit --executor echo --payload greeting.txt --wait",
        "mwctl tasks list --state pending",
        "mwctl status -o json",
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="mwctl")
def cli() -> None:
    """Run tasks on many machines: a master-worker cluster on Apache ZooKeeper."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mwctl` with `arguments` (the process's own if None) and return its exit code."""
    invocation = Invocation()
    try:
        return _run(arguments, invocation)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. What is still in Python's buffer must not fail once more
        # when the interpreter ends; the exit code is the one click gives if it meets this earlier.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MasterworkerError as error:
        if invocation.json_log:
            logging.getLogger(__name__).error("%s", error)
        else:
            complain(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last one to see it
        complain(f"unexpected {type(error).__name__}: {error}")
        if invocation.debug:
            traceback.print_exc()
        return 1


def _run(arguments: Sequence[str] | None, invocation: Invocation) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every letter
    try:
        code = cli.main(arguments, prog_name="mwctl", standalone_mode=False, obj=invocation)
    finally:
        sys.stdout.flush()
    return code or 0
