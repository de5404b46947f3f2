"""`mwctl master` and `mwctl worker`: roles that run until a signal stops them."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from pathlib import Path
from typing import Final, Protocol

import click

from ..execution import prctl
from ..execution.configuration import (
    check_tables,
    load_configuration,
    split_time_limits,
    with_time_limits,
)
from ..execution.loading import load_inline
from ..execution.plugins import Plugins
from ..execution.process_state import KERNEL, ProcessState
from ..execution.sandbox import Sandbox, find_user, parse_limits
from ..roles.keyfile import load_keys
from ..roles.master import Master, MasterSettings
from ..roles.worker import Worker, WorkerSettings
from ..words import limits
from ..words.book import EXECUTOR as DEFAULT_EXECUTOR
from ..words.login import Login
from ..words.paths import name_of_host
from .command import Command, Seconds, hosts_option, key_file_option, session_timeout_option
from .login import login_options

log = logging.getLogger(__name__)

DEFAULTS: Final = MasterSettings()


class Stoppable(Protocol):
    """A role that a signal can stop."""

    def stop(self) -> None: ...


class Signals:
    """Turns each SIGTERM and SIGINT into one call of the role's `stop()`.

    Python runs signal handlers in the main thread, between any two instructions. That can be late,
    if the main thread is waiting, or while it holds the lock of the event that `stop()` sets. So
    the handler does nothing, and a separate thread reads the signal's number from the wakeup
    descriptor immediately. `last` is the most recent signal.
    """

    def __init__(self, role: Stoppable) -> None:
        self.last = 0
        self._role = role
        self._arrivals, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        self._wakeup = wakeup
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._serve, name="signals", daemon=True).start()

    def _serve(self) -> None:
        while number := self._arrivals.recv(1):
            self.last = number[0]
            log.info("%s: stopping", signal.Signals(self.last).name)
            self._role.stop()


@click.command(
    cls=Command,
    log_level="info",
    examples=[
        "mwctl master",
        "mwctl master --hosts zk1:2181,zk2:2181,zk3:2181/production",
        "MWCTL_LOG_FORMAT=json mwctl master --status-ttl 3600",
    ],
)
@hosts_option
@login_options
@session_timeout_option
@click.option(
    "--status-ttl",
    type=Seconds(),
    default=DEFAULTS.status_ttl,
    show_default=True,
    help="Minimum time to keep the status of a finished task if its client does not take it.",
)
@click.option(
    "--folder-ttl",
    type=Seconds(),
    default=DEFAULTS.folder_ttl,
    show_default=True,
    help="Minimum time to keep the ledger of an inactive client whose tasks are all settled.",
)
def master(
    hosts: str, login: Login, session_timeout: float, status_ttl: float, folder_ttl: float
) -> None:
    """Run a master.

    One master of a cluster is the primary. It assigns tasks to workers and recovers the tasks of
    dead workers. The other masters are backups; one of them takes over if the primary stops.
    SIGTERM and SIGINT stop a master immediately. No task is lost: all state is in ZooKeeper.
    """
    settings = MasterSettings(
        session_timeout=session_timeout,
        login=login,
        status_ttl=status_ttl,
        folder_ttl=folder_ttl,
    )
    prctl.hide()
    role = Master(hosts, settings)
    Signals(role)
    role.run()


@click.command(
    cls=Command,
    log_level="info",
    examples=[
        "mwctl worker",
        "mwctl worker --executor echo --executor command --slots 4",
        "mwctl worker --executor thumbnail --config /etc/masterworker.toml --grace 120",
        "MWCTL_EXECUTOR='echo read' mwctl worker --hosts zk1:2181/production",
    ],
)
@hosts_option
@login_options
@session_timeout_option
@click.option(
    "--executor",
    "executor",
    multiple=True,
    default=(DEFAULT_EXECUTOR,),
    show_default=True,
    metavar="NAME",
    help="Executor to offer, as NAME or PLUGIN:NAME. Repeatable. In MWCTL_EXECUTOR, "
    "separate names with spaces.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, limits.MAX_SLOTS),
    metavar="N",
    help="Maximum number of concurrent tasks.  [default: one per processor, plus "
    f"{limits.INLINE_SLOTS:,} for inline executors]",
)
@click.option(
    "--name",
    default=lambda: name_of_host(socket.gethostname()),
    show_default="host name",
    metavar="NAME",
    help="Prefix of the worker's id.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with a table [executors.NAME] for each executor that you configure.",
)
@click.option(
    "--grace",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Time that running attempts get to finish after the first signal.",
)
@key_file_option
@click.option(
    "--pass-env",
    multiple=True,
    metavar="NAME",
    help="Environment variable to pass to child processes, in addition to the default ones. "
    "Repeatable.",
)
@click.option(
    "--task-user",
    metavar="NAME",
    help="User that runs child processes. The worker must run as root.  "
    "[default: the worker's user]",
)
@click.option(
    "--task-limit",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Resource limit of child processes, as in setrlimit(2). NUMBER can be 'unlimited'. "
    "Repeatable.  [default: core=0]",
)
@click.option(
    "--allow-new-privileges",
    is_flag=True,
    help="Allow child processes to gain privileges through set-user-ID programs such as sudo.",
)
@click.pass_context
def worker(
    ctx: click.Context,
    hosts: str,
    login: Login,
    session_timeout: float,
    executor: tuple[str, ...],
    slots: int | None,
    name: str,
    config: Path | None,
    grace: float,
    key_file: Path | None,
    pass_env: tuple[str, ...],
    task_user: str | None,
    task_limit: tuple[str, ...],
    allow_new_privileges: bool,
) -> None:
    """Run a worker.

    A worker runs the tasks that the primary assigns to it, with the executors that you name. The
    first SIGTERM or SIGINT drains the worker: it immediately returns tasks that have not started,
    and returns running tasks after the grace period. A second signal stops the worker immediately
    with exit code 143 or 130, and the primary recovers its tasks.
    """
    tables = load_configuration(config) if config else {}
    configs, time_limits = split_time_limits(tables, config)
    sandbox = Sandbox(
        pass_env=pass_env,
        user=find_user(task_user) if task_user else None,
        limits=parse_limits(task_limit),
        new_privileges=allow_new_privileges,
    )
    settings = WorkerSettings(
        name=name,
        slots=slots,
        session_timeout=session_timeout,
        login=login,
        grace=grace,
        configs=configs,
        file=config,
        sandbox=sandbox,
        keys=load_keys(key_file) if key_file else None,
    )
    prctl.hide()
    plugins = Plugins.probe(executor, configs, file=config, sandbox=sandbox)
    offers = with_time_limits(plugins.executors(executor), time_limits)
    check_tables(offers, tables, config)
    # Inline executors run in this process. Undo what importing them changed in it.
    ctx.obj.runs_plugins = any(one.inline for one in offers.values())
    known = ProcessState(KERNEL)
    executors = load_inline(offers)
    for changed in known.restore():
        log.warning("importing the plugins changed %s of this worker permanently", changed)
    role = Worker(hosts, executors, settings)
    signals = Signals(role)
    role.run()
    if role.stopped_cold:
        ctx.exit(128 + signals.last)
