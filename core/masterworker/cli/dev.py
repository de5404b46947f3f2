"""`mwctl dev`: a whole cluster on this machine, until a signal or for as long as a command runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import click

from ..dev.cluster import Cluster
from ..dev.processes import Process
from ..words import limits
from ..words.errors import Unavailable
from .command import Command
from .output import say

PREFERRED_PORT: Final = 2181
"""The one that `--hosts` names when it is not given, so that other terminals need no option."""

LAST_PORT: Final = 65_535

WATCH_INTERVAL: Final = 0.2
"""Seconds between looks at the processes."""

TAIL: Final = 10
"""Lines shown of the log of a process that ended."""


FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""Signals that a terminal sends to its whole foreground group: Ctrl-C, Ctrl-\\ and its end."""


class Signals:
    """How a signal stops everything: it goes to `command` while one runs, else `stopped` notes it.

    A second one then ends this process on the spot, and the cluster with it. The handler raises
    nothing: kazoo takes any exception raised while it sends a request for a lost connection. A
    SIGHUP that is ignored stays ignored, as `nohup` has it.
    """

    def __init__(self) -> None:
        self.stopped = 0
        self.command: subprocess.Popen[bytes] | None = None
        for number in (*FROM_TERMINAL, signal.SIGTERM):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._arrived)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self.command is None:
            self.stopped = number
            signal.signal(number, signal.SIG_DFL)
        elif not (number in FROM_TERMINAL and _in_foreground()):
            self.command.send_signal(number)


def _in_foreground() -> bool:
    """Whether a Ctrl-C at our terminal reaches our whole group, and so the command, by itself.

    A terminal that has been closed can no longer be asked: the command may get SIGHUP twice.
    """
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


class Watch:
    """Says on stderr which of a cluster's processes have ended, once for each."""

    def __init__(self, cluster: Cluster) -> None:
        self._watched = list(cluster.processes)

    def look(self) -> None:
        """Report those that have ended since the last look."""
        for process in [process for process in self._watched if not process.alive]:
            self._watched.remove(process)
            say(_ended(process))


def _ended(process: Process) -> str:
    code = process.exit_code or 0
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"{process} ended ({how}); {process.evidence(TAIL)}"


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[
        "mwctl dev",
        "mwctl dev --masters 2 --workers 3 --executor echo --data-dir /tmp/cluster",
        "mwctl dev --workers 2 -- mwctl submit --executor echo README.md --wait",
        "mwctl dev --zookeepers 3 --port 2181 --log-dir logs",
        "mwctl dev --zookeepers 3 -- pytest tests",
    ],
)
@click.option(
    "--masters",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="M",
    help="How many masters.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="How many workers.",
)
@click.option(
    "--executor",
    "executor",
    multiple=True,
    metavar="NAME",
    help="An executor for the workers to run, repeatable.  [default: every installed one]",
)
@click.option(
    "--zookeepers",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="One ZooKeeper server, or an ensemble of three.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Keep ZooKeeper's data in this directory, and the logs unless --log-dir is given.  "
    "[default: a temporary directory, removed at the end]",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Keep the logs of all servers, masters and workers in this directory.",
)
@click.option(
    "--port",
    type=click.IntRange(1, LAST_PORT),
    help="The port of the first ZooKeeper server; the others use the next ones.  "
    f"[default: {PREFERRED_PORT} if it is free and no CMD is given, else any free port]",
)
@click.option(
    "--slots",
    type=click.IntRange(1, limits.MAX_SLOTS),
    metavar="N",
    help="How many tasks each worker holds at a time; see mwctl worker.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The workers' TOML file with a table [executors.NAME] for each executor.",
)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dev(
    ctx: click.Context,
    masters: int,
    workers: int,
    executor: tuple[str, ...],
    zookeepers: str,
    data_dir: Path | None,
    log_dir: Path | None,
    port: int | None,
    slots: int | None,
    config: Path | None,
    cmd: tuple[str, ...],
) -> None:
    """Run a whole cluster on this machine, for development.

    It starts a private ZooKeeper that only this machine can reach, the masters and the workers, and
    prints the hosts string. Ctrl-C, SIGTERM or closing the terminal stops everything.

    With CMD it runs that command with MWCTL_HOSTS set, then stops everything and exits with the
    command's exit code; stdout is the command's alone.
    """
    count = int(zookeepers)
    if port is not None and port + count - 1 > LAST_PORT:
        raise click.UsageError(
            f"--port {port}: {count} ZooKeeper servers use the ports {port} to {port + count - 1}, "
            f"and the last port is {LAST_PORT}"
        )
    path = _search_path()
    if cmd and shutil.which(cmd[0], path=path) is None:
        raise click.UsageError(f"there is no command {cmd[0]!r} on the PATH")
    cluster = Cluster(
        masters=masters,
        workers=workers,
        executors=executor,
        zookeepers=count,
        data_dir=data_dir,
        log_dir=log_dir,
        port=port,
        preferred_port=None if cmd else PREFERRED_PORT,
        slots=slots,
        config=config,
    )
    signals = Signals()
    with cluster:
        if cmd:
            environment = {**os.environ, "PATH": path, "MWCTL_HOSTS": cluster.hosts}
            ctx.exit(_run(cmd, environment, cluster, signals))
        _introduce(cluster)
        _watch(cluster, signals)


def _search_path() -> str:
    """PATH for a command: `mwctl` is on it, this very one if there was none."""
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("mwctl", path=path):
        return path
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def _introduce(cluster: Cluster) -> None:
    """The hosts string for scripts, and for people what runs and what to do with it."""
    click.echo(cluster.hosts)
    status = cluster.status()
    offered = {
        name: inline for one in status.workers.values() for name, inline in one.executors.items()
    }
    servers = _count(len(cluster.zookeepers), "ZooKeeper server")
    masters = _count(len(cluster.masters), "master")
    workers = _count(len(cluster.workers), "worker")
    lines = [
        f"{servers}, {masters} and {workers} run until Ctrl-C",
        f"  executors: {', '.join(sorted(offered)) or 'none'}",
        f"  logs:      {cluster.log_dir}",
        "in another terminal:",
        f"  export MWCTL_HOSTS={cluster.hosts}",
        "  mwctl status",
    ]
    if offered:
        trivial = [name for name, inline in offered.items() if inline]
        executor = min(trivial or offered)  # a trivial one needs no configuration
        lines.append(f"  echo hello | mwctl submit --executor {executor} --payload - --wait")
    say("\n".join(lines))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _watch(cluster: Cluster, signals: Signals) -> None:
    """Report what ends, until a signal comes. Raises Unavailable when ZooKeeper ends."""
    watch = Watch(cluster)
    while cluster.serving:
        if signals.stopped:
            return
        watch.look()
        time.sleep(WATCH_INTERVAL)
    watch.look()
    raise Unavailable(f"ZooKeeper at {cluster.hosts} ended, and with it the cluster")


def _run(
    command: Sequence[str], environment: Mapping[str, str], cluster: Cluster, signals: Signals
) -> int:
    """Run a command until it ends; its exit code as a shell counts it."""
    watch = Watch(cluster)
    with subprocess.Popen(command, env=environment) as process:
        signals.command = process
        if signals.stopped:  # it came before there was a command
            process.send_signal(signals.stopped)
        while process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_INTERVAL)
            watch.look()
    signals.command = None
    return process.returncode if process.returncode >= 0 else 128 - process.returncode
