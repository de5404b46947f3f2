"""A private, real ZooKeeper server on the loopback interface, for development and tests.

It runs `java` with the jars of Debian's packages, or of the distribution at ZOOKEEPER_HOME. It
keeps its files in one directory, and dies with the process that started it.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..words.errors import BadConfiguration, Unavailable
from .folders import TemporaryFolder
from .processes import Process, Startable

JAVA_LIBRARIES = Path("/usr/share/java")
START_DEADLINE = 30.0  # seconds; on an idle machine, the start takes half a second
POLL_INTERVAL = 0.02  # seconds
PORT_TRIES = 5

# Below the kernel's range for outgoing connections. Otherwise, a client that keeps reconnecting to
# a stopped server could be assigned the server's port and connect to itself.
PORTS = range(12_000, 32_000)

CONFIGURATION = """\
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr,mntr,stat,conf
tickTime={tick}
minSessionTimeout={min_session}
maxSessionTimeout=120000
initLimit=20
syncLimit=10
maxClientCnxns=0
preAllocSize=4096
autopurge.snapRetainCount=3
autopurge.purgeInterval={purge_interval}
"""

TLS_CONFIGURATION = """\
secureClientPort={port}
secureClientPortAddress=127.0.0.1
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider
ssl.keyStore.location={key_store}
ssl.keyStore.type=PEM
ssl.trustStore.location={trust_store}
ssl.trustStore.type=PEM
ssl.clientAuth={client_auth}
"""

# The distribution logs through logback, which logs everything without a configuration. Debian's
# jars log through slf4j-simple, which is configured by a system property.
LOGBACK = """\
<configuration>
  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %-5p %c: %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="CONSOLE"/></root>
</configuration>
"""


def free_ports(count: int) -> list[int]:
    """Return free loopback ports. They are not reserved, so another process may take them."""
    candidates = random.sample(PORTS, k=len(PORTS))
    return list(itertools.islice(filter(port_is_free, candidates), count))


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ask(port: int, word: str, timeout: float = 1.0) -> str:
    """Return the server's answer to a four-letter word, or "" if none arrives in `timeout` s."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(word.encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")
    except OSError:
        return ""


def java_command() -> list[str]:
    """Return the `java` command with its class path.

    Raises BadConfiguration with installation instructions if Java or ZooKeeper is missing.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java") or (shutil.which("java", path=f"{home}/bin") if home else None)
    if java is None:
        raise BadConfiguration(f"java not found in PATH or JAVA_HOME: {_how_to_install()}")
    return [java, "-cp", _class_path()]


def _class_path() -> str:
    home = os.environ.get("ZOOKEEPER_HOME")
    if home is not None:
        if not list(Path(home).glob("lib/zookeeper*.jar")):
            raise BadConfiguration(
                f"no lib/zookeeper*.jar in ZOOKEEPER_HOME={home}: set it to an unpacked "
                "distribution (apache-zookeeper-*-bin), or unset it to use the system's ZooKeeper"
            )
        return f"{home}/lib/*"
    jars = [JAVA_LIBRARIES / "zookeeper.jar", JAVA_LIBRARIES / "slf4j-simple.jar"]
    missing = [str(jar) for jar in jars if not jar.exists()]
    if missing:
        raise BadConfiguration(
            f"ZooKeeper is not installed ({' and '.join(missing)} missing): {_how_to_install()}"
        )
    # Debian's zookeeper.jar names the libraries that it needs, except two for TLS.
    netty = [JAVA_LIBRARIES / "netty-codec.jar", JAVA_LIBRARIES / "netty-resolver.jar"]
    return ":".join(map(str, [*jars, *netty]))


def _how_to_install() -> str:
    if shutil.which("apt-get"):
        return "run `sudo apt-get install default-jre-headless libzookeeper-java`"
    return (
        "install Java 11 or later, unpack Apache ZooKeeper "
        "(https://zookeeper.apache.org/releases.html) and set ZOOKEEPER_HOME to its folder"
    )


class PortTaken(BadConfiguration):
    """The port of a server is already in use."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port 127.0.0.1:{port} is already in use. Stop the process that uses it, or use "
            "another port"
        )


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Settings of a server's additional TLS port.

    `key_store` is a PEM file with the server's key and certificate. `trust_store` is a PEM file
    with the authority that signs client certificates. `client_auth` is ZooKeeper's
    `ssl.clientAuth`: `need`, `want` or `none`.
    """

    key_store: Path
    trust_store: Path
    client_auth: str = "need"


class ZooKeeperServer(Startable):
    """A ZooKeeper server, standalone or a member of an ensemble.

    Its files (`zoo.cfg`, `server.log`, `data/`) are kept in `data_dir`, or by default in a
    temporary folder that `stop` removes. `log` replaces `server.log`. Without `port`, `start` finds
    a free port.
    `tick_time` is in seconds. The minimum session timeout is two ticks, and sessions expire up to
    one tick late. `heap` is in bytes.
    With `keep_history`, transaction logs and snapshots are never purged.
    `members` maps each server id of the ensemble to its quorum port and election port; `server_id`
    is the id of this server. With `tls`, it has an additional port; see `secure_hosts`. `settings`
    are additional lines of `zoo.cfg`.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        tick_time: float = 0.5,
        heap: int = 512 * 1024 * 1024,
        keep_history: bool = False,
        server_id: int = 1,
        members: Mapping[int, tuple[int, int]] | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self._given_dir = data_dir
        self._log = log
        self._given_port = port
        self._tick_time = tick_time
        self._heap = heap
        self._keep_history = keep_history
        self._server_id = server_id
        self._members = dict(members or {})
        self._tls = tls
        self._settings = dict(settings or {})
        self._port = port
        self._secure_port: int | None = None
        self._temporary: TemporaryFolder | None = None
        self._process: Process | None = None

    @property
    def port(self) -> int:
        """The client port on 127.0.0.1."""
        if self._port is None:
            raise RuntimeError("this ZooKeeper server has no port before it is started")
        return self._port

    @property
    def hosts(self) -> str:
        """The hosts string for clients, without a chroot."""
        return f"127.0.0.1:{self.port}"

    @property
    def secure_hosts(self) -> str:
        """The hosts string for TLS clients, without a chroot."""
        if self._secure_port is None:
            raise RuntimeError("this ZooKeeper server has no TLS port")
        return f"127.0.0.1:{self._secure_port}"

    @property
    def process(self) -> Process:
        """The java process."""
        if self._process is None:
            raise RuntimeError("this ZooKeeper server was never started")
        return self._process

    @property
    def pid(self) -> int:
        """The pid of the java process."""
        return self.process.pid

    @property
    def mode(self) -> str | None:
        """`standalone`, `leader` or `follower`; None while it does not serve clients."""
        for line in ask(self.port, "srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return None

    def start(self, deadline: float = START_DEADLINE) -> None:
        """Start the server and return when it serves clients.

        Raises BadConfiguration if ZooKeeper is not installed or `port` is taken. Raises Unavailable
        with the end of the log if the server exits, or does not serve within `deadline` seconds.
        """
        try:
            self._start_on_some_port(deadline)
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start the java process without waiting for it."""
        if self._port is None:
            [self._port] = free_ports(1)
        elif not port_is_free(self._port):
            raise PortTaken(self._port)
        if self._tls is not None and self._secure_port is None:
            [self._secure_port] = free_ports(1)
        directory = self._directory()
        command = [*java_command(), *self._java_options(directory), str(directory / "zoo.cfg")]
        self._configure(directory)
        self._process = Process(
            f"ZooKeeper server {self.hosts}", command, log=self._log or directory / "server.log"
        )
        self._process.start()

    def wait_until_serving(self, deadline: float = START_DEADLINE) -> None:
        """Return when the server serves clients. Raises what `start` raises."""
        until = time.monotonic() + deadline
        while not self._serves():
            if not self.process.alive:
                if not port_is_free(self.port):
                    raise PortTaken(self.port)
                if self._secure_port is not None and not port_is_free(self._secure_port):
                    raise PortTaken(self._secure_port)
                raise self._unavailable(f"exited with code {self.process.exit_code}")
            if time.monotonic() > until:
                raise self._unavailable(f"did not serve within {deadline:g} s")
            time.sleep(POLL_INTERVAL)

    def stop(self) -> None:
        """Stop the server if it runs, and remove its temporary folder."""
        try:
            if self._process is not None:
                self._process.stop()
        finally:
            if self._temporary is not None:
                self._temporary.close()
                self._temporary = None

    def kill(self) -> None:
        """Kill the server (SIGKILL). Its data is kept, and `restart` starts it again."""
        self.process.kill()

    def pause(self) -> None:
        """Pause the server (SIGSTOP); its connections stay open."""
        self.process.pause()

    def resume(self) -> None:
        """Resume a paused server (SIGCONT)."""
        self.process.resume()

    def restart(self, deadline: float = START_DEADLINE) -> None:
        """Stop the server if it runs, and start it again with the same port and data."""
        self.process.stop()
        self._given_port = self.port
        self.start(deadline)

    def _start_on_some_port(self, deadline: float) -> None:
        for _ in range(PORT_TRIES):
            try:
                self.launch()
                self.wait_until_serving(deadline)
            except PortTaken:
                if self._given_port is not None:
                    raise
                self._port = self._secure_port = None
            else:
                return
        raise Unavailable(f"no free port found: {PORT_TRIES} ports were taken by other processes")

    def _serves(self) -> bool:
        # `conf` returns the data directory, which shows that this server has the port. While the
        # server starts, it may never answer, so the timeout is short.
        return f"dataDir={self._directory() / 'data'}" in ask(self.port, "conf", timeout=0.25)

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(f"{self.process} {what}; {self.process.evidence()}")

    def _directory(self) -> Path:
        if self._given_dir is not None:
            return self._given_dir.resolve()
        if self._temporary is None:
            self._temporary = TemporaryFolder("masterworker-zookeeper-")
        return self._temporary.path

    def _configure(self, directory: Path) -> None:
        data = directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        tick = round(self._tick_time * 1000)
        text = CONFIGURATION.format(
            data=data,
            port=self.port,
            tick=tick,
            min_session=2 * tick,
            purge_interval=0 if self._keep_history else 1,  # hours; 0 means never
        )
        for server_id, (quorum, election) in self._members.items():
            text += f"server.{server_id}=127.0.0.1:{quorum}:{election}\n"
        if self._tls is not None:
            text += TLS_CONFIGURATION.format(
                port=self._secure_port,
                key_store=self._tls.key_store,
                trust_store=self._tls.trust_store,
                client_auth=self._tls.client_auth,
            )
        text += "".join(f"{key}={value}\n" for key, value in self._settings.items())
        (directory / "zoo.cfg").write_text(text)
        (directory / "logback.xml").write_text(LOGBACK)
        (data / "myid").write_text(f"{self._server_id}\n")

    def _java_options(self, directory: Path) -> list[str]:
        return [
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # warms up faster: less CPU for the first 100,000 writes
            "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            f"-Dlogback.configurationFile={directory / 'logback.xml'}",
            "-Dzookeeper.jmx.log4j.disable=true",
            # A digest of the tree with every write, so that servers detect inconsistencies.
            f"-Dzookeeper.digest.enabled={'true' if self._members else 'false'}",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        ]
