"""`mwctl`: the command line. Only this module turns errors into messages and exit codes.

Data goes to stdout, everything else to stderr. Commands raise their errors, and `main` catches
them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Final

import click

from .. import __version__
from ..execution.process_state import INTENDED, reset_signals
from ..words.errors import MasterworkerError
from . import logs, streams
from .command import Group, Interrupted, Invocation, Lazy
from .init import become_init
from .output import complain

INTERRUPTED: Final = 130
"""The exit code after SIGINT, following the shells' convention."""


@click.command(
    cls=Group,
    lazy={
        "master": Lazy("serving", "Run a master."),
        "worker": Lazy("serving", "Run a worker."),
        "dev": Lazy("dev", "Run a local development cluster."),
        "submit": Lazy("submitting", "Submit tasks, and optionally wait for their results."),
        "tasks": Lazy("tasks", "List, show and wait for tasks."),
        "status": Lazy("looking", "Show masters, workers and task counts."),
        "audit": Lazy("looking", "Check that no task was lost or recorded twice."),
        "acl": Lazy("acl", "Manage access control lists in ZooKeeper."),
        "keys": Lazy("keys", "Create keys for payload encryption."),
        "plugins": Lazy("plugins", "List installed plugins."),
    },
    examples=[
        "mwctl dev --executor echo",
        "mwctl submit --executor echo greeting.txt --wait",
        "mwctl tasks list --state pending",
        "mwctl status -o json",
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="mwctl")
def cli() -> None:
    """Run and manage a master-worker cluster on Apache ZooKeeper."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mwctl` with `arguments` and return its exit code. None means `sys.argv`."""
    streams.hold()
    if arguments is None:
        _prepare_process()
    invocation = Invocation()
    code = INTERRUPTED
    try:
        code = _run(arguments, invocation)
    except KeyboardInterrupt:
        pass
    finally:
        streams.let_go(interrupted=code == INTERRUPTED)
    if arguments is None and invocation.runs_plugins and _has_other_threads():
        try:
            logs.finish()
        finally:  # also after Ctrl-C
            os._exit(code)  # a normal exit would wait for these threads forever
    return code


def _has_other_threads() -> bool:
    """Whether non-daemon threads other than the main thread are running."""
    others = set(threading.enumerate()) - {threading.main_thread()}
    return any(not thread.daemon for thread in others)


def _run(arguments: Sequence[str] | None, invocation: Invocation) -> int:
    try:
        code = cli.main(arguments, prog_name="mwctl", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
        return code or 0
    except click.UsageError as error:
        with contextlib.suppress(OSError, ValueError):
            error.show()
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, Interrupted, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # no message: the reader of stdout has closed it, as `head` does
    except MasterworkerError as error:
        if invocation.json_log:
            logging.getLogger(__name__).error("%s", error)
        else:
            complain(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost handler
        if isinstance(error, OSError) and (why := streams.refused()):
            complain(f"cannot write to stdout: {why}")
            return 1
        complain(f"unexpected {type(error).__name__}: {error}")
        if invocation.debug:
            with contextlib.suppress(OSError, ValueError):
                traceback.print_exc()
        return 1


def _prepare_process() -> None:
    """Reset process state inherited from the parent, before any thread or connection exists."""
    reset_signals(keep=INTENDED)
    if os.getpid() == 1:
        become_init()
