"""A locked cluster at work: real processes, over TLS, with passwords or certificates."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from masterworker import Client, Credentials, Login, Tls
from masterworker.dev.processes import Process, masterworker_command
from masterworker.dev.server import ServerTls, ZooKeeperServer
from masterworker.words.access import ALL, Permission
from masterworker.zookeeper.auditor import Auditor
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.session import Session
from tests.certificates import Authority
from tests.cli.calling import Ended, mwctl
from tests.integration.book_protocol import BookClient
from tests.waiting import eventually

PEOPLE = ("operator", "master", "worker", "alice", "bob")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and files with credentials for everybody."""
    folder = tmp_path_factory.mktemp("locked")
    authority = Authority(folder)
    authority.key_store("server", addresses=["127.0.0.1"])
    for name in PEOPLE:
        authority.sign(name)
        file = folder / f"{name}.secret"
        file.touch(0o600)
        file.write_text(f"{name}:{secrets.token_hex(12)}\n")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper that speaks TLS, to those who show a certificate."""
    tls = ServerTls(folder / "server.pem", folder / "authority.pem")
    with ZooKeeperServer(tls=tls) as server:
        yield server


@dataclass(frozen=True)
class Cluster:
    """A locked tree on the TLS port; `scheme` is what everybody is known by."""

    hosts: str
    scheme: str
    folder: Path

    def options(self, name: str) -> list[str]:
        """An identity's login options. With a password, the certificate belongs to no role."""
        files = name if self.scheme == "x509" else "operator"
        options = [
            f"--hosts={self.hosts}",
            f"--tls-ca={self.folder / 'authority.pem'}",
            f"--tls-cert={self.folder / f'{files}.crt'}",
            f"--tls-key={self.folder / f'{files}.key'}",
        ]
        if self.scheme == "digest":
            options.append(f"--credentials={self.folder / f'{name}.secret'}")
        return options

    def mwctl(self, name: str, *arguments: object) -> Ended:
        """Call `mwctl` with one of the identities."""
        return mwctl(*arguments, *self.options(name), limit=60)

    def process(self, name: str, number: int, *arguments: str) -> Process:
        """A role as a process."""
        log = self.folder / f"{self.scheme}-{name}-{number}.log"
        timeout = 2 if name == "worker" else 10  # seconds; one of the workers is to be missed soon
        options = [f"--session-timeout={timeout}", "--log-level=debug", *self.options(name)]
        return Process(log.stem, masterworker_command(name, *arguments, *options), log=log)

    def login(self, name: str) -> Login:
        """The login of one of the identities, for Python."""
        files = name if self.scheme == "x509" else "operator"
        tls = Tls(
            ca=str(self.folder / "authority.pem"),
            cert=str(self.folder / f"{files}.crt"),
            key=str(self.folder / f"{files}.key"),
        )
        text = (self.folder / f"{name}.secret").read_text()
        return Login(Credentials.parse(text) if self.scheme == "digest" else None, tls)

    def identity(self, name: str) -> str:
        """ZooKeeper's name for one of the identities."""
        credentials = self.login(name).credentials
        return credentials.id if credentials else f"x509:CN={name},O=Example"

    def lock(self) -> None:
        """Lock the tree as an operator does."""
        roles = {"master": "master", "worker": "worker", "alice": "client", "bob": "client"}
        named = [f"--{role}={self.identity(name)}" for name, role in roles.items()]
        assert self.mwctl("operator", "acl", "id").lines == [self.identity("operator")]
        ended = self.mwctl("operator", "acl", "init", *named)
        assert ended.code == 0, ended.err
        assert self.mwctl("operator", "acl", "show").code == 0


@pytest.fixture(scope="module", params=["digest", "x509"])
def cluster(secure: ZooKeeperServer, folder: Path, request: pytest.FixtureRequest) -> Cluster:
    """A locked tree that is not used yet."""
    cluster = Cluster(f"{secure.secure_hosts}/{request.param}", request.param, folder)
    cluster.lock()
    return cluster


def test_a_locked_cluster_works(cluster: Cluster) -> None:
    """Tasks of two clients are done, also by another worker when theirs is killed; the audit finds
    no loss, every znode has the expected ACL, and no secret appears anywhere."""
    with (
        cluster.process("master", 1),
        cluster.process("worker", 1, "--executor=read", "--executor=echo") as first,
        Client(cluster.hosts, login=cluster.login("alice")) as alice,
    ):
        assert alice.submit(b"before", executor="echo").result(60) == b"before"
        first.pause()  # it holds what it is given now, and never runs it
        futures = alice.submit_many([b"%d" % n for n in range(50)], executor="echo")
        alice.flush(30)
        with cluster.process("worker", 2, "--executor=read", "--executor=echo"):
            first.kill()
            assert [future.result(60) for future in futures] == [b"%d" % n for n in range(50)]
            bob = cluster.mwctl(
                "bob", "submit", "--executor=echo", "--wait", "--timeout=60",
                "--payload", cluster.folder / "authority.pem",
            )  # fmt: skip
            assert (bob.code, bob.err) == (0, "")
            assert bob.out == (cluster.folder / "authority.pem").read_bytes()
            _book_client_is_served(cluster)
            _look(cluster)
    _no_secret_is_seen(cluster)


def _book_client_is_served(cluster: Cluster) -> None:
    """A client that knows only the book's protocol gets its status, if it shows who it is."""
    login = cluster.login("bob")
    assert login.tls is not None
    shown = login.credentials
    kazoo = KazooClient(
        cluster.hosts,
        auth_data=[("digest", f"{shown.user}:{shown.password}")] if shown else [],
        use_ssl=True,
        ca=login.tls.ca,
        certfile=login.tls.cert,
        keyfile=login.tls.key,
    )
    kazoo.start(10)
    try:
        task = BookClient(kazoo).submit(b"of the book's")
        status = f"/status/{task}"
        eventually(lambda: kazoo.exists(status), 30, what="the book client's status")
        assert kazoo.get(status)[0] == b"done"
    finally:
        kazoo.stop()
        kazoo.close()


def _look(cluster: Cluster) -> None:
    session = Session(cluster.hosts, login=cluster.login("operator"))
    session.start()
    try:
        assert Inspection(session).status().primary is not None
        report = Auditor(session).report()
        assert report.ok, report.findings
        shown = cluster.mwctl("operator", "acl", "show", "-o", "json")
        assert shown.code == 0, shown.out
        secret = _secrets(cluster)
        for path, found in session.read_each(_paths(shown)):
            assert not any(one in bytes(getattr(found, "data", b"")) for one in secret), path
    finally:
        session.close()
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True)
    assert b"masterworker" in listed.stdout
    assert not any(one in listed.stdout for one in secret)


def _paths(shown: Ended) -> list[str]:

    return [path for path in json.loads(shown.out)["lists"] if path != "/"]


def _secrets(cluster: Cluster) -> list[bytes]:
    files = [cluster.folder / f"{name}.secret" for name in PEOPLE]
    return [file.read_bytes().strip().partition(b":")[2] for file in files]


def _no_secret_is_seen(cluster: Cluster) -> None:
    """The logs of all processes, at their most talkative, have no password in them."""
    logs = list(cluster.folder.glob(f"{cluster.scheme}-*.log"))
    assert len(logs) == 3
    for log in logs:
        data = log.read_bytes()
        assert data
        assert not any(secret in data for secret in _secrets(cluster))


def test_permissions_are_zookeepers() -> None:
    """The numbers that go over the wire are those kazoo knows, too."""
    from kazoo.security import Permissions

    assert {one.name: one.value for one in Permission} == {
        name: getattr(Permissions, name) for name in ("READ", "WRITE", "CREATE", "DELETE", "ADMIN")
    }
    assert ALL == Permissions.ALL
