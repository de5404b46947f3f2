"""The cluster of a campaign: three ZooKeeper servers, and roles behind their own proxies.

Every role process reaches each server through a proxy that no other process uses, so a fault on
that connection affects only this process.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from masterworker.dev.cluster import GRACE, TICK, TICKS
from masterworker.dev.ensemble import Ensemble
from masterworker.dev.processes import Process, Startable, masterworker_command
from masterworker.dev.server import ZooKeeperServer
from masterworker.words.errors import ConnectionLost, SessionLost, Unavailable
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import Session
from masterworker.zookeeper.views import ClusterStatus
from tests.chaos import executors_plugin
from tests.chaos.actors import Actor, Busy
from tests.chaos.journal import Journal
from tests.chaos.schedule import Cast
from tests.faults.proxy import Proxy
from tests.unit.throwaway_plugin import install

ROOT: Final = Path(__file__).parents[2]
POLL: Final = 0.05  # seconds
READY_DEADLINE: Final = 60.0  # seconds
STOP_DEADLINE: Final = GRACE + 8.0  # seconds
OBSERVER_TIMEOUT: Final = 4.0  # seconds


class Tree(NamedTuple):
    """The number of tasks in each place."""

    pending: int
    assigned: int
    finished: int


class Stage(Startable):
    """All processes of a campaign in the directory `run`, until `stop`.

    Call `attend` continually: it restarts processes that have ended.
    """

    def __init__(self, run: Path, cast: Cast) -> None:
        self.run = run
        self.cast = cast
        self.tick = min(TICK, cast.session_timeout / TICKS)
        self.over = threading.Event()
        """Set when every fault must be undone at once."""
        self.ensemble = threading.Lock()
        """Held by a fault that harms ZooKeeper itself."""
        self.office = threading.Lock()
        """Held by a fault that decides which master is the primary."""
        self._journal = Journal(run / "processes.jsonl")
        (run / "logs").mkdir(exist_ok=True)
        (run / "executions").mkdir(exist_ok=True)
        self._site = install(
            run,
            "chaos_executors",
            Path(executors_plugin.__file__).read_text(),
            distribution="masterworker-chaos",
            version="1.0",
        )
        self._servers = Ensemble(
            cast.zookeepers, run / "zookeeper", tick_time=self.tick, keep_history=True
        )
        self._proxies = contextlib.ExitStack()
        self._observer = _Observer("")
        self.zookeepers: list[Actor] = []
        self.masters: list[Actor] = []
        self.workers: list[Actor] = []
        self.clients: list[Actor] = []

    # --- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """Start ZooKeeper, masters and workers, and return when they are working."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._start_zookeeper()
        self._observer.hosts = self._servers.hosts
        for number in range(1, self.cast.masters + 1):
            self.masters.append(self._role("master", number))
        for number in range(1, self.cast.workers + 1):
            options = [f"--name=worker-{number}", f"--grace={GRACE}"]
            options += ["--executor=chaos", "--executor=chaos-inline"]
            self.workers.append(self._role("worker", number, *options))
        for actor in (*self.masters, *self.workers):
            actor.start()
        self.until(self._at_work, READY_DEADLINE, "masters and workers are at work")

    def start_clients(self, rate: float, until: float, seed: int) -> None:
        """Start the clients: together they submit `rate` tasks a second until a wall-clock time.

        Every second client acknowledges its results only after they are in its journal.
        """
        for number in range(1, self.cast.clients + 1):
            name = f"client-{number}"
            options = [
                *(f"--name={name}", f"--seed={seed}", f"--until={until}"),
                f"--rate={rate / self.cast.clients}",
                f"--session-timeout={self.cast.session_timeout}",
                *(["--acknowledge"] if number % 2 else []),
            ]
            module = [sys.executable, "-m", "tests.chaos.load", str(self.run / "clients")]
            actor = self._behind_proxies(name, "client", [*module, *options])
            self.clients.append(actor)
            actor.start()

    def stop(self) -> None:
        """Stop everything in order: clients, workers, masters, ZooKeeper."""
        self.over.set()
        self._observer.close()
        for actors in (self.clients, self.workers, self.masters):
            self._stop(actors)
        self._proxies.close()
        self._stop(self.zookeepers)
        self._servers.stop()

    @staticmethod
    def _stop(actors: Sequence[Actor]) -> None:
        for actor in actors:
            actor.heal()
            with contextlib.suppress(Busy):  # it rests between two lives
                actor.terminate("the end")
        until = time.monotonic() + STOP_DEADLINE
        for actor in actors:
            actor.wait(max(0.0, until - time.monotonic()))
            actor.attend()

    # --- its actors --------------------------------------------------------------------------

    @property
    def roles(self) -> list[Actor]:
        """The masters, workers and clients."""
        return [*self.masters, *self.workers, *self.clients]

    @property
    def actors(self) -> list[Actor]:
        """All processes."""
        return [*self.zookeepers, *self.roles]

    def actor(self, name: str) -> Actor:
        """The actor of this name."""
        return next(actor for actor in self.actors if actor.name == name)

    def attend(self) -> None:
        """Restart processes that have ended."""
        for actor in self.actors:
            actor.attend()

    def until(self, condition: Callable[[], bool], deadline: float, what: str) -> None:
        """Call `attend` until a condition holds; raise TimeoutError after `deadline` seconds."""
        until = time.monotonic() + deadline
        while not condition():
            self.attend()
            if time.monotonic() > until:
                raise TimeoutError(f"not within {deadline:g} s: {what} (see {self.run})")
            time.sleep(POLL)

    def _start_zookeeper(self) -> None:
        self._servers.start()
        for number, server in enumerate(self._servers.servers, start=1):
            process = server.process

            def launch(
                _environment: Mapping[str, str], server: ZooKeeperServer = server
            ) -> Process:
                server.launch()
                return server.process

            actor = Actor(f"zookeeper-{number}", "zookeeper", launch, self._journal)
            actor.adopt(process)
            self.zookeepers.append(actor)
            folder = self.run / "zookeeper" / str(number)
            (folder / "version-2").symlink_to("data/version-2")

    def _role(self, role: str, number: int, *options: str) -> Actor:
        timeout = f"--session-timeout={self.cast.session_timeout}"
        command = masterworker_command(role, timeout, *options)
        return self._behind_proxies(f"{role}-{number}", role, command)

    def _behind_proxies(self, name: str, role: str, command: Sequence[str]) -> Actor:
        """An actor whose command also gets `--hosts`, which leads through its own proxies."""
        proxies = [
            self._proxies.enter_context(Proxy("127.0.0.1", server.port))
            for server in self._servers.servers
        ]
        argv = [*command, "--hosts=" + ",".join(proxy.hosts() for proxy in proxies)]
        path = {"PYTHONPATH": f"{self._site}:{ROOT}"}
        log = self.run / "logs" / f"{name}.log"

        def launch(environment: Mapping[str, str]) -> Process:
            process = Process(name, argv, {**path, **environment}, log=log)
            process.start()
            return process

        finishes = role == "client"
        return Actor(name, role, launch, self._journal, proxies=proxies, finishes=finishes)

    # --- looking at it -----------------------------------------------------------------------

    def look(self) -> ClusterStatus | None:
        """The cluster's state in ZooKeeper; None while ZooKeeper does not answer."""
        return self._observer.look()

    def primary(self) -> Actor | None:
        """The primary, if there is one and its process is alive."""
        status = self.look()
        pid = status.primary.pid if status is not None and status.primary is not None else None
        return next((master for master in self.masters if pid and master.pid == pid), None)

    def at_work(self, actor: Actor) -> bool:
        """Whether this master or worker is registered."""
        status = self.look()
        if status is None:
            return False
        return actor.pid in _registered(status)

    def leader(self) -> Actor | None:
        """The leading server; None while there is none."""
        index = self._servers.leader()
        return None if index is None else self.zookeepers[index]

    def trees(self) -> dict[str, Tree | None]:
        """The content of each server's own tree, by server; None for one that does not answer."""
        found: dict[str, Tree | None] = {}
        for actor, server in zip(self.zookeepers, self._servers.servers, strict=True):
            observer = _Observer(server.hosts)
            status = observer.look()
            observer.close()
            found[actor.name] = None if status is None else _tree(status)
        return found

    def serving(self) -> bool:
        """Whether every ZooKeeper server serves."""
        return all(server.mode is not None for server in self._servers.servers)

    def serving_hosts(self) -> Iterator[str]:
        """The servers that serve now, without their proxies."""
        return (server.hosts for server in self._servers.servers if server.mode is not None)

    def _at_work(self) -> bool:
        status = self.look()
        if status is None or status.primary is None:
            return False
        return _registered(status) >= {actor.pid for actor in (*self.masters, *self.workers)}


def _tree(status: ClusterStatus) -> Tree:
    return Tree(status.pending, sum(status.assigned.values()), status.finished)


def _registered(status: ClusterStatus) -> set[int | None]:
    """The pids of all masters and workers in the tree."""
    pids: set[int | None] = {master.pid for master in status.masters}
    return pids | {worker.pid for worker in status.workers.values()}


class _Observer:
    """Reads the tree without proxies, through a session that is replaced when it is lost."""

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self._lock = threading.Lock()
        self._session: Session | None = None

    def look(self) -> ClusterStatus | None:
        with self._lock:
            try:
                if self._session is None or self._session.lost:
                    self._close()
                    self._session = Session(self.hosts, timeout=OBSERVER_TIMEOUT)
                    self._session.start(OBSERVER_TIMEOUT)
                self._session.catch_up()
                return Inspection(self._session).status()
            except (ConnectionLost, SessionLost, Unavailable):
                return None

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
