"""One thread at a time: the roles' own loops, run step by step under a clock that is ours.

Every thread of a role is an actor that runs only while it is resumed, until it waits for something:
an answer, an event, another thread. So whoever resumes decides what happens next, and the same
decisions always lead to the same history. What the roles are given instead of `threading`, `time`
and `secrets` is here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from masterworker.words.login import Login
from masterworker.zookeeper.operations import Operation
from tests.model.session import ModelSession
from tests.model.store import Replica, Store

EPOCH: Final = 1_700_000_000.0
"""Seconds since 1970 at which every world begins."""

STUCK: Final = 30.0
"""Real seconds an actor may run without waiting for anything before it is called a defect."""


class Killed(BaseException):
    """The process ends at once, wherever its threads stand."""


class Process:
    """A process of the cluster: its threads, and the sessions it has begun."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.actors: list[Actor] = []
        self.sessions: list[ModelSession] = []
        self.dead = False

    def __repr__(self) -> str:
        return self.name

    @property
    def over(self) -> bool:
        """Whether it was killed, or all its threads have ended."""
        return self.dead or all(actor.ended for actor in self.actors)

    @property
    def writes(self) -> bool:
        """Whether it has a write under way."""
        return any(answer.writes for session in self.sessions for answer in session.under_way)


class Actor:
    """A thread, with as much of `threading.Thread` as the roles use."""

    def __init__(self, world: World, target: Callable[[], object], name: str) -> None:
        self.process = world.owner
        self.name = name
        self.ready: Callable[[], bool] = lambda: True
        self.deadline = float("inf")
        self.started = False
        self.ended = False
        self._world = world
        self._target = target
        self._error: BaseException | None = None
        self._steps = 0
        self._go = threading.Semaphore(0)
        self._waits = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.started = True
        self.process.actors.append(self)
        self._thread.start()

    def is_alive(self) -> bool:
        return self.started and not self.ended

    def join(self, timeout: float | None = None) -> None:
        self._world.wait(lambda: self.ended, timeout)

    @property
    def is_ready(self) -> bool:
        """Whether it has something to do."""
        return not self.ended and (self.ready() or self._world.now() >= self.deadline)

    def resume(self, steps: int = 1) -> None:
        """Let it run until it must wait, or has gone on so many steps from what it waited for.

        Raises what ended it, if that was an error.
        """
        self._steps = steps - 1
        before, self._world.current = self._world.current, self
        self._go.release()
        if not self._waits.acquire(timeout=STUCK):
            raise AssertionError(f"{self.process}: {self.name} neither waits nor ends")
        self._world.current = before
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self, ready: Callable[[], bool], deadline: float) -> None:
        """Called by itself: let others run."""
        if self.process.dead:
            raise Killed
        self.ready, self.deadline = ready, deadline
        if self._steps and self.is_ready:
            self._steps -= 1
            return
        self._waits.release()
        self._go.acquire()
        if self.process.dead:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.process.dead:
                self._target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to whoever resumed it
            self._error = error
        finally:
            self.ended = True
            self._waits.release()


class Event:
    """As much of `threading.Event` as the roles use."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self._world.wait(self.is_set, timeout)
        return self._is_set


class World:
    """The store, the processes, and the time. It is the model sessions' `Clock`."""

    def __init__(self, store: Store, replicas: Sequence[Replica]) -> None:
        self.store = store
        self.replicas = replicas
        self.processes: list[Process] = []
        self.strays: list[tuple[int, Sequence[Operation]]] = []
        """Writes of broken connections that may yet arrive, with their sessions."""
        self.current: Actor | None = None
        self._entered: Process | None = None
        self._clock = 0.0
        self._tokens = 0

    # --- what runs ---------------------------------------------------------------------------

    @property
    def owner(self) -> Process:
        """The process in which we are now."""
        process = self.current.process if self.current else self._entered
        if process is None:
            raise AssertionError("outside of every process")
        return process

    @contextmanager
    def process(self, name: str) -> Iterator[Process]:
        """A new process; what the block starts belongs to it."""
        self._entered = Process(name)
        self.processes.append(self._entered)
        yield self._entered
        self._entered = None

    def kill(self, process: Process, arriving: int = 0) -> None:
        """SIGKILL; of what each session had under way, the first requests still arrive."""
        for session in process.sessions:
            self.cut(session, arriving, stray=False)
            session.lost = True
        process.dead = True
        for actor in process.actors:
            while not actor.ended:
                actor.resume()

    def end(self) -> None:
        """End every thread."""
        for process in self.processes:
            self.kill(process)

    # --- connections -------------------------------------------------------------------------

    def session(
        self, hosts: str, *, login: Login | None = None, timeout: float = 10.0, wake: Event
    ) -> ModelSession:
        """What a role gets when it asks for a Session. Nobody asks it for its login."""
        began = sum(len(process.sessions) for process in self.processes)
        session = ModelSession(
            self.store,
            wake,
            clock=self,
            timeout=timeout,
            replica=self.replicas[began % len(self.replicas)],
        )
        self.owner.sessions.append(session)
        return session

    def cut(self, session: ModelSession, arriving: int, *, stray: bool) -> None:
        """Break a connection; what neither arrived nor strays is lost."""
        late = session.cut(arriving)
        if stray:
            self.strays += [(session.identity, writes) for writes in late]

    def deliver_stray(self, index: int) -> None:
        """A write of a connection given up long ago arrives."""
        session, writes = self.strays.pop(index)
        self.store.commit(session, writes)

    # --- time --------------------------------------------------------------------------------

    def now(self) -> float:
        return self._clock

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._clock += seconds

    def pause(self, ready: Callable[[], bool]) -> None:
        self.wait(ready, None)

    def wait(self, ready: Callable[[], bool], timeout: float | None) -> None:
        """Let others run until something holds, or `timeout` seconds have passed."""
        if self.current is not None:
            deadline = float("inf") if timeout is None else self._clock + timeout
            self.current.wait(ready, deadline)

    # --- what the roles' modules are given ---------------------------------------------------

    @property
    def threading(self) -> Any:
        """Instead of the module `threading`."""
        return _Threading(self)

    @property
    def time(self) -> Any:
        """Instead of the module `time`."""
        return _Time(self)

    @property
    def secrets(self) -> Any:
        """Instead of the module `secrets`."""
        return _Secrets(self)

    def token(self, size: int) -> str:
        """A name that nobody has had before; the same run gives the same names."""
        self._tokens += 1
        return f"{self._tokens:0{2 * size}x}"


class _Threading:
    TIMEOUT_MAX = threading.TIMEOUT_MAX
    Condition = threading.Condition

    def __init__(self, world: World) -> None:
        self._world = world

    def Event(self) -> Event:  # noqa: N802
        return Event(self._world)

    def Thread(self, target: Callable[[], object], name: str, daemon: bool) -> Actor:  # noqa: N802
        return Actor(self._world, target, name)

    def current_thread(self) -> Actor | None:
        return self._world.current


class _Time:
    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.now()

    def time(self) -> float:
        return EPOCH + self._world.now()


class _Secrets:
    def __init__(self, world: World) -> None:
        self._world = world

    def token_hex(self, size: int) -> str:
        return self._world.token(size)
