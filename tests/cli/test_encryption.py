"""Encrypted payloads from end to end: what ZooKeeper and the logs hold, who gets at what."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from masterworker import Client
from masterworker.dev.processes import Process, masterworker_command
from masterworker.dev.server import ZooKeeperServer
from masterworker.words.model import FINISHED
from tests.cli.calling import Ended, mwctl
from tests.integration.running import inspection
from tests.waiting import eventually

CONFIGURATION = """
[executors.command.allow]
cat = ["cat"]
fail = ["sh", "-c", "cat >&2; exit 7"]
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A master, a worker without keys for `read`, and one with keys for `read` and `command`."""

    hosts: str
    folder: Path

    def mwctl(self, *arguments: object, key: str = "", stdin: bytes = b"") -> Ended:
        """Call `mwctl`, with this key file if one is named."""
        env = {"MWCTL_HOSTS": self.hosts}
        if key:
            env["MWCTL_KEY_FILE"] = str(self.folder / key)
        return mwctl(*arguments, stdin=stdin, env=env)

    def submit(self, *arguments: object, payload: str, key: str = "keys") -> str:
        """Submit a task, encrypted unless the key is empty; returns its id."""
        stdin = payload.encode()
        ended = self.mwctl("submit", "--payload=-", *arguments, key=key, stdin=stdin)
        assert ended.code == 0, ended.err
        return ended.lines[0]

    def show(self, task: str, key: str = "") -> dict[str, object]:
        """A task as `mwctl tasks show` has it."""
        shown = self.mwctl("tasks", "show", task, "-o", "json", key=key)
        return dict(json.loads(shown.out or "{}"))

    def ended(self, task: str) -> str:
        """Wait until a task is finished, and say how."""
        with inspection(self.hosts) as looking:
            eventually(lambda: looking.task(task).state in FINISHED, what=f"{task} is finished")
            return str(looking.task(task).state)


@pytest.fixture(scope="module")
def cluster(server: ZooKeeperServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("encryption")
    (folder / "config.toml").write_text(CONFIGURATION)
    running = Cluster(f"{server.hosts}/sealed-{secrets.token_hex(4)}", folder)
    for name in ("keys", "others"):
        assert mwctl("keys", "new", "--output", folder / name, "--id", name).code == 0
    env = {"MWCTL_HOSTS": running.hosts}
    keyed = [f"--config={folder / 'config.toml'}", f"--key-file={folder / 'keys'}"]
    keyed += ["--executor=read", "--executor=command", "--name=keyed"]
    with (
        Process("master", masterworker_command("master"), env, log=folder / "master.log"),
        Process("plain", masterworker_command("worker"), env, log=folder / "plain.log"),
        Process("keyed", masterworker_command("worker", *keyed), env, log=folder / "keyed.log"),
    ):

        def ready() -> bool:
            ended = running.mwctl("status", "-o", "json")
            assert ended.code == 0, ended.err
            status = json.loads(ended.out)
            return bool(status["primary"]) and len(status["workers"]) == 2

        eventually(ready, what="the cluster is there")
        yield running


def test_no_plaintext_lies_anywhere(cluster: Cluster, server: ZooKeeperServer) -> None:
    """Neither payload, option, result nor evidence is in ZooKeeper's files or in a log; the same
    task submitted without a key is, so the search finds what there is."""
    hidden, open_ = f"marker{secrets.token_hex(8)}", f"marker{secrets.token_hex(8)}"
    for marker, key_file in ((hidden, cluster.folder / "keys"), (open_, None)):
        payload = marker.encode()
        with Client(cluster.hosts, key_file=key_file) as client:
            for command in ("cat", "fail"):
                options = {"command": command, "note": marker}
                future = client.submit(payload, executor="command", options=options)
                if command == "cat":
                    assert future.result(20) == payload
                else:
                    assert marker in str(future.exception(20))
            client.submit(payload, executor="read").result(20)
    files = [file for file in server.process.log.parent.rglob("*") if file.is_file()]
    stored = b"".join(file.read_bytes() for file in files)
    logged = b"".join(log.read_bytes() for log in cluster.folder.glob("*.log"))
    assert stored.count(open_.encode()) >= 4
    assert open_.encode() in logged, "`read` logs what is not encrypted"
    assert hidden.encode() not in stored
    assert hidden.encode() not in logged


def test_who_has_the_key_sees_all(cluster: Cluster) -> None:
    """The result and the evidence are shown with the key, and without it, which key it takes."""
    done = cluster.submit("--executor=command", "--option=command=cat", payload="hello")
    failed = cluster.submit("--executor=command", "--option=command=fail", payload="because")
    assert (cluster.ended(done), cluster.ended(failed)) == ("done", "failed")
    assert cluster.mwctl("tasks", "result", done, key="keys").out == b"hello"
    for key, says in (("", "--key-file"), ("others", "the key file has only others")):
        ended = cluster.mwctl("tasks", "result", done, key=key)
        assert (ended.code, ended.out) == (77, b"")
        assert "encrypted with key 'keys'" in ended.err
        assert says in ended.err
    assert "because" in str(cluster.show(failed, key="keys")["why"])
    shown = cluster.show(failed)
    assert shown["sealed"] == "keys"
    assert "encrypted with key 'keys': pass its file with --key-file" in str(shown["why"])
    assert "because" not in json.dumps(shown)
    assert "because" in cluster.mwctl("tasks", "show", failed, key="keys").out.decode()
    ended = cluster.mwctl("tasks", "result", failed, key="keys")
    assert ended.code == 3
    assert "because" in ended.err


def test_a_wait_writes_the_plain_result(cluster: Cluster) -> None:
    """`mwctl submit --wait` encrypts and decrypts; the caller sees the bytes alone."""
    call = ["submit", "--executor=command", "--option=command=cat", "--payload=-", "--wait"]
    assert cluster.mwctl(*call, key="keys", stdin=b"to and fro").out == b"to and fro"


def test_a_task_whose_key_nobody_has_waits(cluster: Cluster) -> None:
    """It says so at once, and `mwctl tasks show` goes on saying it."""
    call = ["submit", "--payload=-", "-o", "jsonl"]
    ended = cluster.mwctl(*call, key="others", stdin=b"for nobody")
    assert "the task is waiting: it is encrypted with key 'others'" in ended.err
    task = json.loads(ended.out)["id"]
    # One that comes later and is done shows that the primary has looked at both.
    assert cluster.ended(cluster.submit(payload="after it")) == "done"
    shown = cluster.show(task)
    assert (shown["state"], shown["worker"]) == ("pending", None)
    assert "encrypted with key 'others', and no ready worker" in str(shown["why"])


def test_keys_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    """A file of mode 600 that is never overwritten, or a line to be appended."""
    file = tmp_path / "keys"
    assert mwctl("keys", "new", "--output", file).code == 0
    before = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    again = mwctl("keys", "new", "--output", file)
    assert (again.code, file.read_text()) == (2, before)
    assert "mwctl keys new >>" in again.err
    line = mwctl("keys", "new", "--id", "second").lines
    assert [words.split()[0] for words in line] == ["second"]
    assert mwctl("keys", "new", "--id", "No!").code == 78


def test_a_bad_key_file_gives_78(tmp_path: Path) -> None:
    """Before anything is connected to or submitted."""
    file = tmp_path / "keys"
    file.write_text("nonsense")
    file.chmod(0o644)
    for call in (["worker"], ["submit", "--payload=-"], ["tasks", "show", "x"]):
        ended = mwctl(*call, "--key-file", file, "--hosts", "127.0.0.1:1")
        assert ended.code == 78, ended.err
        assert "chmod 600" in ended.err
