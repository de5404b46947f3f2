"""A local cluster: a private ZooKeeper, and masters and workers as child processes.

`mwctl dev`, the demo and the benchmarks use it. Each process can be killed, paused and restarted
separately. All of them die with the process that started the cluster.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from ..execution.plugins import Plugins
from ..words.errors import (
    BadConfiguration,
    ConnectionLost,
    MasterworkerError,
    SessionLost,
    Unavailable,
)
from ..zookeeper.inspection import Inspection
from ..zookeeper.session import DEFAULT_TIMEOUT, Session
from ..zookeeper.views import ClusterStatus
from .ensemble import Ensemble
from .folders import TemporaryFolder
from .processes import Process, Startable, masterworker_command
from .server import PortTaken, ZooKeeperServer

log = logging.getLogger(__name__)

PREFIX: Final = "masterworker-cluster-"
"""The prefix of temporary folders."""

TICK: Final = 0.5
"""ZooKeeper's maximum tick in seconds. A session expires up to one tick late."""

TICKS: Final = 8
"""Minimum number of ticks in a session timeout, so that short sessions expire on time."""

READY_DEADLINE: Final = 60.0
"""Seconds for masters and workers to become ready. On an idle machine it takes one or two."""

LOOK_INTERVAL: Final = 0.05
"""Seconds between readiness checks. Each check costs several requests."""

GRACE: Final = 2.0
"""Seconds that running attempts get to finish when a worker is stopped."""

STOP_DEADLINE: Final = GRACE + 5.0
"""Seconds that a master or worker gets to shut down before it is killed."""


class Cluster(Startable):
    """ZooKeeper, `masters` and `workers`, for use in a `with` statement.

    Every worker offers `executors` (default: all installed ones), and is started with `slots` and
    `config` as `--slots` and `--config`. `zookeepers` is 1 for a server or 3 for an ensemble.
    `port` is the port of the first server; the others use the following ports. Without it, the
    ports start at `preferred_port` if all of them are free; otherwise any free ports are used.
    ZooKeeper's data is kept in `data_dir`, and the logs in `log_dir` or, if only that is given, in
    `data_dir`. Otherwise, they are in a temporary folder, which is removed. `session_timeout` is in
    seconds.
    """

    def __init__(
        self,
        *,
        masters: int = 1,
        workers: int = 1,
        executors: Sequence[str] | None = None,
        zookeepers: int = 1,
        data_dir: Path | None = None,
        log_dir: Path | None = None,
        port: int | None = None,
        preferred_port: int | None = None,
        session_timeout: float = DEFAULT_TIMEOUT,
        slots: int | None = None,
        config: Path | None = None,
    ) -> None:
        self._masters, self._workers, self._zookeepers = masters, workers, zookeepers
        self._executors = executors
        self._data_dir = data_dir
        self._given_log_dir = log_dir
        self._any_port = port is None
        first = preferred_port if port is None else port
        self._ports = [] if first is None else list(range(first, first + zookeepers))
        self._session_timeout = session_timeout
        self._slots = slots
        self._config = config
        self._opened = ExitStack()
        self._log_dir: Path | None = None
        self._zookeeper: ZooKeeperServer | Ensemble | None = None
        self._session: Session | None = None
        self.masters: list[Process] = []
        self.workers: list[Process] = []

    # --- what runs ---------------------------------------------------------------------------

    @property
    def hosts(self) -> str:
        """The hosts string for clients."""
        return self._running.hosts

    @property
    def log_dir(self) -> Path:
        """The folder with the logs."""
        if self._log_dir is None:
            raise RuntimeError("this cluster was never started")
        return self._log_dir

    @property
    def zookeepers(self) -> list[ZooKeeperServer]:
        """The ZooKeeper servers."""
        zookeeper = self._running
        return zookeeper.servers if isinstance(zookeeper, Ensemble) else [zookeeper]

    @property
    def processes(self) -> list[Process]:
        """All processes, in the order of their start."""
        servers = [server.process for server in self.zookeepers]
        return [*servers, *self.masters, *self.workers]

    @property
    def serving(self) -> bool:
        """Whether a majority of the ZooKeeper servers runs."""
        alive = [server.process.alive for server in self.zookeepers]
        return 2 * sum(alive) > len(alive)

    def status(self) -> ClusterStatus:
        """The cluster's state in ZooKeeper. Raises Unavailable if ZooKeeper does not answer."""
        try:
            if self._session is None or self._session.lost:
                self._end_session()
                self._session = Session(self.hosts)
                self._session.start()
            return Inspection(self._session).status()
        except (ConnectionLost, SessionLost) as error:
            raise Unavailable(f"ZooKeeper at {self.hosts} does not answer: {error}") from error

    def primary(self) -> Process | None:
        """The primary according to ZooKeeper; None if there is none.

        A killed master remains the primary until its session expires.
        """
        return self._primary_in(self.status())

    # --- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and return when there is a primary and all workers are ready.

        If a process fails, stops everything and raises BadConfiguration or Unavailable with the end
        of its log.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the workers, which return their tasks, then the masters, then ZooKeeper."""
        with ExitStack() as last_first:  # if one step fails, the others still run
            last_first.callback(self._opened.close)
            if self._zookeeper is not None:
                last_first.callback(self._zookeeper.stop)
            last_first.callback(self._stop_roles, self.masters)
            last_first.callback(self._stop_roles, self.workers)
            last_first.callback(self._end_session)

    def _stop_roles(self, processes: Sequence[Process]) -> None:
        # Without ZooKeeper, workers cannot return tasks, so there is no reason to wait.
        _stop(processes, STOP_DEADLINE if processes and self.serving else 0.0)

    def _start(self) -> None:
        directory = self._open_directory()
        self._log_dir = self._open_log_dir(directory)
        self._start_zookeeper(directory / "zookeeper", self._log_dir)
        self.masters = [self._process("master", number) for number in range(1, self._masters + 1)]
        options = self._worker_options()
        self.workers = [
            self._process("worker", number, f"--name=worker-{number}", *options)
            for number in range(1, self._workers + 1)
        ]
        for process in [*self.masters, *self.workers]:
            process.start()
        self._wait_until_ready()

    def _start_zookeeper(self, directory: Path, logs: Path) -> None:
        self._zookeeper = self._new_zookeeper(directory, logs)
        try:
            self._zookeeper.start()
        except PortTaken:
            if not (self._any_port and self._ports):
                raise
            self._ports = []
            self._start_zookeeper(directory, logs)

    def _open_directory(self) -> Path:
        if self._data_dir is None:
            return self._opened.enter_context(closing(TemporaryFolder(PREFIX))).path
        directory = self._data_dir.resolve()
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = self._opened.enter_context((directory / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # ZooKeeper does not lock its data, and two servers would corrupt it.
            raise BadConfiguration(
                f"another cluster is using {directory}. Stop it or use another directory"
            ) from None
        return directory

    def _open_log_dir(self, directory: Path) -> Path:
        log_dir = (self._given_log_dir or directory).resolve()
        with _writing(log_dir):
            log_dir.mkdir(parents=True, exist_ok=True)
            (log_dir / "zookeeper-1.log").open("ab").close()
        return log_dir

    def _new_zookeeper(self, directory: Path, logs: Path) -> ZooKeeperServer | Ensemble:
        tick = min(TICK, self._session_timeout / TICKS)
        if self._zookeepers > 1:
            return Ensemble(
                self._zookeepers, directory, ports=self._ports, log_dir=logs, tick_time=tick
            )
        port = self._ports[0] if self._ports else None
        log_file = logs / "zookeeper-1.log"
        return ZooKeeperServer(directory, port=port, log=log_file, tick_time=tick)

    def _process(self, role: str, number: int, *options: str) -> Process:
        name = f"{role}-{number}"
        timeout = f"--session-timeout={self._session_timeout}"
        command = masterworker_command(role, f"--hosts={self.hosts}", timeout, *options)
        return Process(name, command, log=self.log_dir / f"{name}.log")

    def _worker_options(self) -> list[str]:
        executors = self._executors or Plugins.probe().names()
        options = [f"--grace={GRACE}"]
        options += [f"--executor={executor}" for executor in executors]
        if self._slots is not None:
            options.append(f"--slots={self._slots}")
        if self._config is not None:
            options.append(f"--config={self._config}")
        return options

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_DEADLINE
        while True:
            for process in self.processes:
                if not process.alive:
                    raise _ended(process)
            late = self._not_ready()
            if late is None:
                return
            if time.monotonic() > until:
                raise Unavailable(
                    f"{late} was not ready within {READY_DEADLINE:g} s; {late.evidence()}"
                )
            time.sleep(LOOK_INTERVAL)

    def _not_ready(self) -> Process | None:
        """A process that is not ready: a ZooKeeper server if none answers, else a role."""
        try:
            return next(iter(self._missing()), None)
        except Unavailable:
            return self.zookeepers[0].process

    def _missing(self) -> list[Process]:
        """The processes that are not ready: without a primary, all masters."""
        status = self.status()
        there = {worker.pid for worker in status.workers.values()}
        if self._primary_in(status) is not None:
            there |= {master.pid for master in status.masters}
        return [one for one in [*self.masters, *self.workers] if one.pid not in there]

    def _primary_in(self, status: ClusterStatus) -> Process | None:
        pid = None if status.primary is None else status.primary.pid
        return next((master for master in self.masters if master.pid == pid), None)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def _running(self) -> ZooKeeperServer | Ensemble:
        if self._zookeeper is None:
            raise RuntimeError("this cluster was never started")
        return self._zookeeper


def _stop(processes: Sequence[Process], patience: float) -> None:
    """Terminate all processes, and kill those that still run after `patience` seconds."""
    alive = [process for process in processes if process.alive]
    for process in alive:
        process.resume()  # a paused process cannot handle the signal
        process.terminate()  # only once: a second signal would stop a worker immediately
    until = time.monotonic() + patience
    for process in alive:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except TimeoutError as error:
            log.warning("%s", error)
            process.kill()


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Convert OSError to BadConfiguration with the name of this directory."""
    try:
        yield
    except OSError as error:
        raise BadConfiguration(f"cannot write to {directory}: {error.strerror}") from error


def _ended(process: Process) -> MasterworkerError:
    """The error for a process that exited during the start."""
    message = f"{process} exited with code {process.exit_code}; {process.evidence()}"
    if process.exit_code == BadConfiguration.exit_code:
        return BadConfiguration(message)
    return Unavailable(message)
