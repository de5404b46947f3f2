"""`mwctl dev`: a local cluster that runs until a signal arrives or a command ends."""

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
"""The port of the default `--hosts`, so that other terminals need no option."""

LAST_PORT: Final = 65_535

WATCH_INTERVAL: Final = 0.2
"""Seconds between checks of the processes."""

TAIL: Final = 10
"""Lines shown from the log of a process that exited."""

FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""Signals that a terminal sends to its whole foreground group: Ctrl-C, Ctrl-\\ and hangup."""


class Signals:
    """Signal handling: a signal goes to `command` while it runs, otherwise it is kept in `stopped`.

    A second signal then ends this process, and the cluster with it, immediately. The handler never
    raises, because kazoo treats any exception during a request as a lost connection. An ignored
    SIGHUP stays ignored, so that `nohup` works.
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
    """Whether the terminal delivers Ctrl-C to our whole process group, including the command.

    This is unknown once the terminal is closed, so the command may get SIGHUP twice.
    """
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


class Watch:
    """Reports each process of a cluster that exits, once, on stderr."""

    def __init__(self, cluster: Cluster) -> None:
        self._watched = list(cluster.processes)

    def look(self) -> None:
        """Report the processes that have exited since the last call."""
        for process in [process for process in self._watched if not process.alive]:
            self._watched.remove(process)
            say(_ended(process))


def _ended(process: Process) -> str:
    code = process.exit_code or 0
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"{process} exited ({how}); {process.evidence(TAIL)}"


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
    help="Number of masters.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of workers.",
)
@click.option(
    "--executor",
    "executor",
    multiple=True,
    metavar="NAME",
    help="Executor that the workers offer. Repeatable.  [default: all installed executors]",
)
@click.option(
    "--zookeepers",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="Number of ZooKeeper servers: one, or an ensemble of three.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Directory for ZooKeeper's data, and for the logs unless --log-dir is given. It is kept.  "
    "[default: a temporary directory]",
)
@click.option(
    "--log-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Directory for the logs of all servers, masters and workers. It is kept.",
)
@click.option(
    "--port",
    type=click.IntRange(1, LAST_PORT),
    metavar="PORT",
    help="Port of the first ZooKeeper server. The others use the following ports.  "
    f"[default: {PREFERRED_PORT} if it is free and no CMD is given, otherwise any free port]",
)
@click.option(
    "--slots",
    type=click.IntRange(1, limits.MAX_SLOTS),
    metavar="N",
    help="Maximum number of concurrent tasks per worker. See mwctl worker.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file of the workers, with a table [executors.NAME] for each executor.",
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
    """Run a local development cluster.

    Starts a ZooKeeper that only this machine can reach, masters and workers, and prints the hosts
    string. To stop the cluster, press Ctrl-C, send SIGTERM or close the terminal.

    With CMD, runs this command with MWCTL_HOSTS set, then stops the cluster and exits with the
    command's exit code. Only the command writes to stdout.
    """
    count = int(zookeepers)
    if port is not None and port + count - 1 > LAST_PORT:
        raise click.UsageError(
            f"--port {port}: {count} ZooKeeper servers need the ports {port} to "
            f"{port + count - 1}, but the highest port is {LAST_PORT}"
        )
    path = _search_path()
    if cmd and shutil.which(cmd[0], path=path) is None:
        raise click.UsageError(f"command {cmd[0]!r} not found in PATH")
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
    """PATH for a command. If it has no `mwctl`, the directory of this one is added."""
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("mwctl", path=path):
        return path
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def _introduce(cluster: Cluster) -> None:
    """Print the hosts string on stdout, and a summary with next steps on stderr."""
    click.echo(cluster.hosts)
    status = cluster.status()
    offered = {
        name: inline for one in status.workers.values() for name, inline in one.executors.items()
    }
    servers = _count(len(cluster.zookeepers), "ZooKeeper server")
    masters = _count(len(cluster.masters), "master")
    workers = _count(len(cluster.workers), "worker")
    lines = [
        f"cluster running: {servers}, {masters}, {workers}; press Ctrl-C to stop",
        f"  executors: {', '.join(sorted(offered)) or 'none'}",
        f"  logs:      {cluster.log_dir}",
        "to use it from another terminal:",
        f"  export MWCTL_HOSTS={cluster.hosts}",
        "  mwctl status",
    ]
    if offered:
        trivial = [name for name, inline in offered.items() if inline]
        executor = min(trivial or offered)  # an inline executor needs no configuration
        lines.append(f"  echo hello | mwctl submit --executor {executor} --payload - --wait")
    say("\n".join(lines))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _watch(cluster: Cluster, signals: Signals) -> None:
    """Report processes that exit, until a signal arrives. Raises Unavailable if ZooKeeper exits."""
    watch = Watch(cluster)
    while cluster.serving:
        if signals.stopped:
            return
        watch.look()
        time.sleep(WATCH_INTERVAL)
    watch.look()
    raise Unavailable(f"ZooKeeper at {cluster.hosts} exited, so the cluster was stopped")


def _run(
    command: Sequence[str], environment: Mapping[str, str], cluster: Cluster, signals: Signals
) -> int:
    """Run a command and return its exit code, following the shells' convention for signals."""
    watch = Watch(cluster)
    with subprocess.Popen(command, env=environment) as process:
        signals.command = process
        if signals.stopped:  # it arrived before the command had started
            process.send_signal(signals.stopped)
        while process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_INTERVAL)
            watch.look()
    signals.command = None
    return process.returncode if process.returncode >= 0 else 128 - process.returncode
