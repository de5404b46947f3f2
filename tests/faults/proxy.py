"""A TCP proxy that understands ZooKeeper's frames, so that a test chooses exactly what gets lost.

Put one before each process under test. Everything happens on one event loop in a thread of its own;
the methods may be called from any other thread, and what they ask for is done when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from masterworker.dev.processes import Startable
from masterworker.dev.server import free_ports
from tests.faults.wire import LENGTH, REPLY_HEADER, REQUEST_HEADER, Op, framed, granted, text

T = TypeVar("T")
Direction = Literal["to_server", "to_client"]


class Fault(enum.Enum):
    """What a rule does to the request it hits."""

    DROP_REQUEST = enum.auto()
    DROP_REPLY = enum.auto()
    REPLY_ERROR = enum.auto()
    HOLD = enum.auto()


@dataclass
class Rule:
    """Strikes once, at the `nth` request of `op` that `applies`; `struck` tells that it has."""

    fault: Fault
    op: int
    nth: int
    applies: Callable[[bytes], bool]
    error: int = 0
    direction: Direction = "to_client"
    seen: int = 0
    struck: threading.Event = field(default_factory=threading.Event)

    def hits(self, op: int, request: bytes) -> bool:
        """Count the request, if it is one of the rule's kind, and say whether it is the nth."""
        if op != self.op or not self.applies(request):
            return False
        self.seen += 1
        return self.seen == self.nth


class Proxy(Startable):
    """Listens on a loopback port of its own and passes every connection on to the target.

    The rules see a request's bytes from its header on, without the length. A rule that drops
    something also cuts the connection behind it, as a network would; whatever came before has been
    passed on.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.target = (target_host, target_port)
        self.rules: list[Rule] = []
        self.latency = 0.0  # seconds, each way
        self.gates: dict[Direction, asyncio.Event] = {
            "to_server": asyncio.Event(),
            "to_client": asyncio.Event(),
        }
        self.requests: Counter[int] = Counter()
        self.accepted = 0
        """How many connections were made so far."""
        self.session: tuple[float, int, bytes] | None = None
        """When (monotonic) the latest session was granted through it, its number, its password."""
        self._links: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        [self.port] = free_ports(1)

    def hosts(self, chroot: str = "") -> str:
        """The hosts string that leads a client through the proxy."""
        return f"127.0.0.1:{self.port}{chroot}"

    @property
    def counts(self) -> Counter[int]:
        """How many requests of each operation came from the clients so far."""
        return self.requests.copy()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self.release()
        self.accept()

    def stop(self) -> None:
        """Close everything. A stopped proxy does not start again."""
        self.refuse()
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drop_request(
        self,
        op: Op,
        nth: int = 1,
        *,
        containing: bytes = b"",
        where: Callable[[bytes], bool] | None = None,
    ) -> Rule:
        """Lose a request on its way to the server."""
        return self._add(Fault.DROP_REQUEST, op, nth, containing, where)

    def drop_reply(
        self,
        op: Op,
        nth: int = 1,
        *,
        containing: bytes = b"",
        where: Callable[[bytes], bool] | None = None,
    ) -> Rule:
        """Let a request be carried out and lose the reply."""
        return self._add(Fault.DROP_REPLY, op, nth, containing, where)

    def reply_error(
        self,
        op: Op,
        nth: int = 1,
        *,
        error: int,
        containing: bytes = b"",
        where: Callable[[bytes], bool] | None = None,
    ) -> Rule:
        """Answer a request with an error code, in its turn, and keep it from the server."""
        return self._add(Fault.REPLY_ERROR, op, nth, containing, where, error)

    def hold_at(self, op: Op, direction: Direction, *, containing: bytes = b"") -> Rule:
        """Make a black hole of this direction at a request: towards the server the request itself
        is held, towards the client its reply, and with either all that follows."""
        return self._add(Fault.HOLD, op, 1, containing, None, direction=direction)

    def withdraw(self, rule: Rule) -> None:
        """Let a rule strike no more, if it has not yet."""
        self._do(_calling(self.rules.remove, rule))

    def wait_for(self, rule: Rule, deadline: float = 10.0) -> None:
        """Return once the rule has struck; raise AssertionError after `deadline` seconds."""
        if not rule.struck.wait(deadline):
            raise AssertionError(
                f"{rule.fault.name} of request {rule.nth} of operation {rule.op} did not strike "
                f"within {deadline:g} s: {rule.seen} such requests seen, of all {self.counts}"
            )

    def hold(self, direction: Direction | Literal["both"] = "both") -> None:
        """Let nothing through any more, and keep the connections open: a black hole."""
        for gate in self._gates(direction):
            self._do(_calling(gate.clear))

    def release(self, direction: Direction | Literal["both"] = "both") -> None:
        """Let everything through again, first what was held, unless its sender hung up."""
        for gate in self._gates(direction):
            self._do(_calling(gate.set))

    def delay(self, seconds: float) -> None:
        """Let every frame, each way, take this long from now on; their order stays."""
        self.latency = seconds

    def reset(self) -> None:
        """Cut every connection."""
        self._do(self._cut_all())

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._do(self._close_listener())

    def accept(self) -> None:
        """Accept connections (again), on the same port."""
        self._do(self._open_listener())

    def _add(
        self,
        fault: Fault,
        op: Op,
        nth: int,
        containing: bytes,
        where: Callable[[bytes], bool] | None,
        error: int = 0,
        direction: Direction = "to_client",
    ) -> Rule:
        def applies(request: bytes) -> bool:
            return containing in request and (where is None or where(request))

        rule = Rule(fault, op, nth, applies, error, direction)
        self._do(_calling(self.rules.append, rule))
        return rule

    def _gates(self, direction: Direction | Literal["both"]) -> list[asyncio.Event]:
        return list(self.gates.values()) if direction == "both" else [self.gates[direction]]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    async def _open_listener(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def _cut_all(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        self.accepted += 1
        try:
            async with _closing(writer):
                onward_reader, onward_writer = await asyncio.open_connection(*self.target)
                async with _closing(onward_writer):
                    to_server = _Flow(self, "to_server", reader, onward_writer)
                    to_client = _Flow(self, "to_client", onward_reader, writer)
                    await _Link(self, to_server, to_client).run()
        except OSError:
            pass  # the target does not accept: neither do we
        except asyncio.CancelledError:
            pass  # we were cut; asyncio of 3.11 would log a cancelled connection as a defect
        finally:
            self._links.discard(link)


class _Cut(Exception):
    """The end of a connection."""


class _Flow:
    """One direction of a connection: frames in their order, none early, none while held."""

    def __init__(
        self,
        proxy: Proxy,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._gate = proxy.gates[direction]
        self._reader = reader
        self._writer = writer
        self._frames: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        writer.transport.set_write_buffer_limits(0)  # what was drained is on its way: cut behind it

    async def next(self) -> bytes | None:
        """Return the next frame, None when the sender has hung up."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def put(self, frame: bytes | None) -> None:
        """Pass a frame on, None to cut the connection behind the frames before it."""
        due = asyncio.get_running_loop().time() + self._proxy.latency
        self._frames.put_nowait((due, frame))

    def hang_up(self) -> None:
        """The sender is gone: pass on what it sent, but lose what is held."""
        if not self._gate.is_set():
            raise _Cut
        self.put(None)

    async def write(self) -> None:
        """Write frames until the cut."""
        while True:
            due, frame = await self._frames.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            while not self._gate.is_set():
                await self._gate.wait()
            if frame is None:
                raise _Cut
            self._writer.write(framed(frame))
            await self._writer.drain()


class _Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, to_server: _Flow, to_client: _Flow) -> None:
        self._proxy = proxy
        self._to_server = to_server
        self._to_client = to_client
        self._struck: dict[int, Rule] = {}  # by the xid of the request whose reply they concern

    async def run(self) -> None:
        """Pass frames both ways until one side hangs up or a rule cuts."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._requests())
                tasks.create_task(self._replies())
                tasks.create_task(self._to_server.write())
                tasks.create_task(self._to_client.write())
        except* (_Cut, OSError):
            pass

    async def _requests(self) -> None:
        self._to_server.put(await self._to_server.next())  # the handshake
        while (request := await self._to_server.next()) is not None:
            passed = self._after_rules(request)
            self._to_server.put(passed)
            if passed is None:
                return
        self._to_server.hang_up()

    def _after_rules(self, request: bytes) -> bytes | None:
        """Return what the server gets in place of the request, None to cut."""
        xid, op = REQUEST_HEADER.unpack_from(request)
        self._proxy.requests[op] += 1
        hit = [rule for rule in self._proxy.rules if rule.hits(op, request)]
        if not hit:
            return request
        rule = hit[0]
        if rule.fault is Fault.DROP_REQUEST:
            rule.struck.set()
            return None
        if rule.fault is Fault.HOLD:
            self._proxy.gates[rule.direction].clear()
            rule.struck.set()
            return request
        self._struck[xid] = rule
        if rule.fault is Fault.DROP_REPLY:
            return request
        # Replies must come in the order of the requests. So the server is asked something harmless,
        # and the error takes the place of its answer.
        return REQUEST_HEADER.pack(xid, Op.EXISTS) + text(b"/") + b"\0"

    async def _replies(self) -> None:
        handshake = await self._to_client.next()
        if handshake is not None and (session := granted(handshake)) is not None:
            self._proxy.session = (time.monotonic(), *session)
        self._to_client.put(handshake)
        while (reply := await self._to_client.next()) is not None:
            xid, zxid, _ = REPLY_HEADER.unpack_from(reply)
            rule = self._struck.pop(xid, None)
            if rule is None:
                self._to_client.put(reply)
                continue
            rule.struck.set()
            if rule.fault is Fault.DROP_REPLY:
                break
            self._to_client.put(REPLY_HEADER.pack(xid, zxid, rule.error))
        self._to_client.put(None)


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _calling(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)
