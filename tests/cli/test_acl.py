"""`mwctl acl`: locking a tree, changing it while it is in use, and seeing whether it is locked."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from kazoo.exceptions import NoAuthError
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id, Permissions

from masterworker.dev.server import ZooKeeperServer
from masterworker.zookeeper.session import Session
from tests.cli.calling import Ended, mwctl
from tests.integration.locked import Locked

PASSWORD_SHOWN = "the password is shown"


class Operator:
    """Calls `mwctl` as the operator of a tree."""

    def __init__(self, tree: Locked, folder: Path) -> None:
        self.tree = tree
        self.secret = folder / "operator.secret"
        self.secret.touch(0o600)
        credentials = tree.credentials["operator"]
        self.secret.write_text(f"{credentials.user}:{credentials.password}\n")

    def acl(self, command: str, *arguments: str, hosts: str = "") -> Ended:
        """Call a command of `mwctl acl`."""
        options = [f"--hosts={hosts or self.tree.hosts}", f"--credentials={self.secret}"]
        ended = mwctl("acl", command, *options, *arguments, limit=60)
        password = self.tree.credentials["operator"].password
        assert password not in ended.out.decode() + ended.err, PASSWORD_SHOWN
        return ended

    def entry(self, name: str, granted: int) -> ACL:
        """An entry of an access list."""
        scheme, _, text = self.tree.credentials[name].id.partition(":")
        return ACL(granted, Id(scheme, text))

    def init(self, *clients: str, hosts: str = "", operator: str = "") -> Ended:
        """Lock the tree for one worker and these clients."""
        who = {name: one.id for name, one in self.tree.credentials.items()}
        options = [f"--master={who['master']}", f"--worker={who['worker']}"]
        options += [f"--client={who[name]}" for name in clients]
        options += [f"--operator={who[operator]}"] if operator else []
        return self.acl("init", *options, hosts=hosts)


@pytest.fixture
def operator(server: ZooKeeperServer, tmp_path: Path) -> Operator:
    """The operator of a tree that is not there yet."""
    return Operator(Locked(f"{server.hosts}/acl-{secrets.token_hex(4)}"), tmp_path)


def test_a_tree_is_locked_changed_and_looked_at(operator: Operator) -> None:
    """`show` tells no tree, a locked one and a wrong list apart; `init` sets it right, and
    takes from a client that is not named any more what was its own."""
    tree = operator.tree
    assert operator.acl("id").lines == [tree.credentials["operator"].id]
    assert operator.acl("show").code == 69
    locked = operator.init("alice", "bob")
    assert (locked.code, "the operator is your own identity" in locked.err) == (0, True), locked.err
    assert operator.acl("show").code == 0
    again = operator.init("alice", "bob")
    assert again.lines == ["no changes: all access lists are correct"]

    with tree.client("bob") as bob, tree.kazoo("bob") as his, tree.kazoo("operator") as kazoo:
        folder = f"/status/{bob._courier.account.client}"
        bob.submit(b"for nobody", executor="nobody")
        bob.flush(10)
        assert his.get(folder)
        kazoo.set_acls("/tasks", OPEN_ACL_UNSAFE)
        shown = operator.acl("show", "-o", "json")
        document = json.loads(shown.out)
        assert (shown.code, document["locked"]) == (1, True)
        assert [one["path"] for one in document["deviating"]] == ["/tasks"]
        changed = operator.init("alice")
        assert {"/tasks: 1 changed", "/status/<client>: 1 changed"} <= set(changed.lines)
        with pytest.raises(NoAuthError):
            his.get(folder)
    assert operator.acl("show").code == 0


def test_no_client_saves_its_rights_by_a_znode_of_its_own(operator: Operator) -> None:
    """Znodes whose lists a client closed to operators are named, by `show` and by `init`; all else
    is changed, so that this client can do no more."""
    assert operator.init("alice", "bob").code == 0
    with operator.tree.kazoo("bob") as his:
        his_own = operator.entry("bob", Permissions.ALL)
        his.create("/tasks/closed", b"", [his_own])
        his.create(
            "/tasks/unchangeable", b"", [his_own, operator.entry("operator", Permissions.READ)]
        )
        ended = operator.init("alice")
        assert ended.code == 77
        assert "cannot change the access lists of 2 znodes, such as /tasks/" in ended.err
        assert "/tasks: 1 changed" in ended.lines
        with pytest.raises(NoAuthError):
            his.create("/tasks/another", b"")
    shown = operator.acl("show", "-o", "json")
    assert shown.code == 1
    deviating = {one["path"]: one["found"] for one in json.loads(shown.out)["deviating"]}
    assert deviating.keys() == {"/tasks/closed", "/tasks/unchangeable"}
    assert deviating["/tasks/closed"] == {}


def test_an_open_cluster_at_the_root_is_shown() -> None:
    """Without a chroot, `show` says that access is unrestricted."""
    with ZooKeeperServer() as own:
        session = Session(own.hosts)
        session.start()
        session.ensure_tree()
        session.close()
        shown = mwctl("acl", "show", "--hosts", own.hosts)
    assert (shown.code, shown.err) == (1, "")
    assert shown.out.startswith(b"Access is unrestricted")


def test_nobody_locks_himself_out(operator: Operator) -> None:
    """Without a chroot, or with somebody else as the only operator, nothing is changed."""
    root = operator.init("alice", hosts=operator.tree.hosts.partition("/")[0])
    assert (root.code, "chroot" in root.err) == (78, True)
    out = operator.init("alice", operator="alice")
    assert (out.code, "lock yourself out" in out.err) == (78, True)
    assert operator.acl("show").code == 69, "there is no tree yet"


def test_a_password_is_no_identity(operator: Operator) -> None:
    """A mistaken identity is refused before anything is done."""
    ended = operator.acl("init", "--master=master:pass", "--worker=x509:CN=w", "--client=x509:CN=a")
    assert (ended.code, "is not an identity" in ended.err) == (78, True)


def test_an_identity_that_zookeeper_does_not_know(operator: Operator) -> None:
    """Certificates' names at a server that knows of none are refused before anything is done."""
    names = ("--master=x509:CN=m", "--worker=x509:CN=w", "--client=x509:CN=a")
    ended = operator.acl("init", *names)
    assert (ended.code, "authProvider.x509" in ended.err) == (78, True), ended.err
    assert operator.acl("show").code == 1
