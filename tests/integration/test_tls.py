"""TLS with a real ZooKeeper: problems with certificates, and their error messages."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from masterworker import BadConfiguration, NotTrusted, Tls, Unavailable
from masterworker.dev.server import ServerTls, ZooKeeperServer
from masterworker.words.login import Login
from masterworker.zookeeper import tls as module
from masterworker.zookeeper.acls import identify
from masterworker.zookeeper.session import Session
from tests.certificates import Authority
from tests.waiting import eventually

DEADLINE = 20.0  # seconds for a connection, or for what is wrong with it to be found out
PATIENCE = 5.0  # seconds for one that is to come to nothing; each try takes milliseconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our authority with certificates, and another one with certificates by the same names."""
    folder = tmp_path_factory.mktemp("tls")
    ours = Authority(folder)
    ours.key_store("server", addresses=["127.0.0.1"])
    ours.key_store("elsewhere", addresses=["127.0.0.9"])
    ours.key_store("expired", addresses=["127.0.0.1"], expired=True)
    ours.sign("alice")
    ours.sign("locked", password="the key's password")
    Authority(folder, "stranger").sign("mallory")
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> Iterator[ZooKeeperServer]:
    """A server that asks for certificates."""
    with ZooKeeperServer(tls=ServerTls(folder / "server.pem", folder / "authority.pem")) as server:
        yield server


def tls(folder: Path, name: str = "alice", ca: str = "authority", password: str = "") -> Tls:
    """The files of one identity."""
    cert, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    return Tls(str(folder / f"{ca}.pem"), cert, key, password)


@contextlib.contextmanager
def session(hosts: str, shown: Tls | None, patience: float = DEADLINE) -> Iterator[Session]:
    """A session that is started, or fails to start."""
    opened = Session(hosts, login=Login(tls=shown))
    try:
        opened.start(patience)
        yield opened
    finally:
        opened.close()


def test_a_certificate_is_an_identity(secure: ZooKeeperServer, folder: Path) -> None:
    """Over TLS the server knows us by our certificate, also one with an encrypted key."""
    with session(secure.secure_hosts, tls(folder)) as opened:
        assert identify(opened, Login(tls=tls(folder))) == "x509:CN=alice,O=Example"
        opened.ensure_tree()
    shown = tls(folder, "locked", password="the key's password")
    with session(secure.secure_hosts, shown) as opened:
        assert identify(opened, Login(tls=shown)) == "x509:CN=locked,O=Example"


def test_an_authority_of_others_is_not_trusted(secure: ZooKeeperServer, folder: Path) -> None:
    """A server signed by another authority is refused, and the message names our file."""
    with (
        pytest.raises(NotTrusted, match=r"not trusted: .*issuer.*stranger\.pem"),
        session(secure.secure_hosts, tls(folder, ca="stranger")),
    ):
        pass
    assert NotTrusted.exit_code == 77


def test_the_host_is_checked(secure: ZooKeeperServer, folder: Path) -> None:
    """A certificate for 127.0.0.1 is none for localhost, unless the check is turned off."""
    there = secure.secure_hosts.replace("127.0.0.1", "localhost")
    with pytest.raises(NotTrusted, match=r"localhost"), session(there, tls(folder)):
        pass
    files = tls(folder)
    unchecked = Tls(files.ca, files.cert, files.key, check_hostname=False)
    with session(there, unchecked) as opened:
        assert opened.connected


def test_the_server_refuses_us(secure: ZooKeeperServer, folder: Path) -> None:
    """Without a certificate, or with one of another authority, the server ends the handshake."""
    for shown in (Tls(str(folder / "authority.pem")), tls(folder, "mallory")):
        with (
            pytest.raises(NotTrusted, match=r"ended the TLS handshake.*--tls-cert"),
            session(secure.secure_hosts, shown),
        ):
            pass


def test_certificates_are_replaced_at_work(tmp_path: Path) -> None:
    """A session continues when the authority and all certificates are replaced, even if only half
    of the files were written when it first tried to reconnect."""
    old, renewed = Authority(tmp_path), Authority(tmp_path, "next")
    old.key_store("server", addresses=["127.0.0.1"])
    old.sign("alice")
    files = ServerTls(tmp_path / "server.pem", tmp_path / "authority.pem")
    with ZooKeeperServer(tls=files) as server, session(server.secure_hosts, tls(tmp_path)) as ours:
        before = ours.identity
        server.kill()
        renewed.key_store("server", addresses=["127.0.0.1"])
        (tmp_path / "alice.crt").write_text("half a certificate")
        eventually(lambda: not ours.connected, what="the connection is noticed to be gone")
        (tmp_path / "authority.pem").write_bytes(renewed.file.read_bytes())
        renewed.sign("alice")
        server.restart()
        eventually(lambda: ours.connected, what="it is connected again")
        assert ours.read(["/"])[0] is not None
        assert ours.identity == before


def test_tls_and_no_tls_do_not_meet(secure: ZooKeeperServer, folder: Path) -> None:
    """TLS at the plain port, and none at the other, are told apart from a server that is away."""
    with (
        pytest.raises(Unavailable, match="secureClientPort"),
        session(secure.hosts, tls(folder), PATIENCE),
    ):
        pass
    with (
        pytest.raises(Unavailable, match=r"if that port speaks TLS, give --tls-ca"),
        session(secure.secure_hosts, None, PATIENCE),
    ):
        pass


@pytest.mark.parametrize(
    ("file", "name", "password", "said"),
    [
        ("nothing.pem", "alice", "", r"authority's certificate in .*nothing\.pem: No such file"),
        ("alice.key", "alice", "", r"authority's certificate in .*alice\.key"),
        ("authority.pem", "nobody", "", r"nobody\.crt.*No such file"),
        ("authority.pem", "locked", "", r"locked\.key.*password"),
        ("authority.pem", "locked", "wrong", r"locked\.key.*password"),
    ],
)
def test_unusable_files(folder: Path, file: str, name: str, password: str, said: str) -> None:
    """An invalid file is named before any connection; no password is prompted for."""
    cert, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    with pytest.raises(BadConfiguration, match=said) as refused:
        Session("127.0.0.1:1", login=Login(tls=Tls(str(folder / file), cert, key, password)))
    assert refused.value.exit_code == 78


@contextlib.contextmanager
def bare_server(folder: Path, store: str, answer: bytes = b"") -> Iterator[str]:
    """A TLS server, not ZooKeeper, that shows a certificate and sends a few bytes at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{store}.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listening.accept()
                    with (
                        contextlib.suppress(ssl.SSLError, ConnectionError),
                        context.wrap_socket(plain, server_side=True) as connection,
                    ):
                        connection.sendall(answer)
                        connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize(("store", "said"), [("expired", "expired"), ("elsewhere", "127.0.0.1")])
def test_certificates_that_do_not_do(folder: Path, store: str, said: str) -> None:
    """A certificate that has expired, or is another host's, is not trusted, and it says why."""
    with (
        bare_server(folder, store) as hosts,
        pytest.raises(NotTrusted, match=rf"not trusted: .*{said}"),
        session(hosts, tls(folder)),
    ):
        pass


def test_what_is_decrypted_already_is_not_waited_for(folder: Path) -> None:
    """Two answers in one record are both there to be read, though the socket has no more."""
    kazoo = KazooClient("127.0.0.1:1")
    module.use(kazoo, tls(folder))
    with bare_server(folder, "server", b"twice") as hosts:
        host, _, port = hosts.partition(":")
        with kazoo.handler.create_connection((host, int(port)), timeout=10.0) as connection:
            assert kazoo.handler.select([connection], [], [], 10.0)[0]
            assert connection.recv(1) == b"t"
            assert kazoo.handler.select([connection], [], [], 0.0)[0] == [connection]
            assert connection.recv(4) == b"wice"
            assert kazoo.handler.select([connection], [], [], 0.0)[0] == []
