"""`mwctl master` and `mwctl worker`: the roles that run until a signal ends them."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from pathlib import Path
from typing import Final, Protocol

import click

from ..execution import prctl
from ..execution.configuration import load_configuration, split_time_limits, with_time_limits
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
    """A role, as far as signals are concerned."""

    def stop(self) -> None: ...


class Signals:
    """SIGTERM and SIGINT, each turned into one call of the role's `stop()`.

    Python runs a handler in the main thread only, between any two of its steps: late, if that
    thread waits and another one caught the signal, and perhaps while it holds the lock of the very
    event that `stop()` sets. So the handler does nothing; the signal's number arrives through the
    wakeup descriptor, at once, in a thread of its own. `last` is the signal that came last.
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
    help="Minimum time to keep the status of a finished task that its client does not take.",
)
@click.option(
    "--folder-ttl",
    type=Seconds(),
    default=DEFAULTS.folder_ttl,
    show_default=True,
    help="Minimum time to keep the balanced ledger of a client that may be gone.",
)
def master(
    hosts: str, login: Login, session_timeout: float, status_ttl: float, folder_ttl: float
) -> None:
    """Run a master.

    One master of a cluster is the primary: it assigns tasks to workers and recovers those of dead
    workers. The other masters are backups and take over when it ends. SIGTERM and SIGINT end a
    master at once; the tasks are safe in ZooKeeper.
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
    help="An executor to run, NAME or PLUGIN:NAME; repeatable. In the environment: separated by "
    "blanks.",
)
@click.option(
    "--slots",
    type=click.IntRange(1, limits.MAX_SLOTS),
    metavar="N",
    help="Maximum number of tasks at a time.  [default: one per processor, and "
    f"{limits.INLINE_SLOTS:,} more for inline executors]",
)
@click.option(
    "--name",
    default=lambda: name_of_host(socket.gethostname()),
    show_default="this host's name",
    metavar="NAME",
    help="Prefix of the worker's id.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file with a table [executors.NAME] for each executor that you configure.",
)
@click.option(
    "--grace",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="How long running attempts may continue after the first signal.",
)
@key_file_option
@click.option(
    "--pass-env",
    multiple=True,
    metavar="NAME",
    help="A variable of the worker's environment that executors in child processes see beside the "
    "usual ones; repeatable.",
)
@click.option(
    "--task-user",
    metavar="NAME",
    help="Run child processes as this user; the worker must be root.  [default: the worker's]",
)
@click.option(
    "--task-limit",
    multiple=True,
    metavar="NAME=NUMBER",
    help="A resource limit of child processes, as of setrlimit(2), or 'unlimited'; repeatable.  "
    "[default: core=0]",
)
@click.option(
    "--allow-new-privileges",
    is_flag=True,
    help="Let set-user-ID programs, such as sudo, take effect in child processes.",
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

    It runs the tasks that the primary master assigns to it, with the executors that you name. The
    first SIGTERM or SIGINT drains it: tasks that have not started are handed back at once, running
    ones after the grace period. A second signal ends it immediately, with exit code 143 or 130;
    the primary then recovers its tasks.
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
    # Inline executors run in this process from here on. What they do to it at import comes first.
    ctx.obj.runs_plugins = any(one.inline for one in offers.values())
    known = ProcessState(KERNEL)
    executors = load_inline(offers)
    for changed in known.restore():
        log.warning("loading the plugins changed %s of this worker and left it so", changed)
    role = Worker(hosts, executors, settings)
    signals = Signals(role)
    role.run()
    if role.stopped_cold:
        ctx.exit(128 + signals.last)
