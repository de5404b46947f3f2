"""Who may do what, and how whoever asks is known: the parts that need no ZooKeeper."""

from __future__ import annotations

import pytest
from kazoo.security import make_digest_acl_credential

from masterworker import BadConfiguration, Credentials, Login, Tls
from masterworker.words import paths, records
from masterworker.words.access import (
    ALL,
    TABLE,
    Identities,
    check_identity,
    entries,
    kind_of,
    letters,
    owners_in,
    permissions,
)
from masterworker.words.errors import BadRecord
from masterworker.words.model import Task, Worker
from masterworker.zookeeper.acls import AccessLists, identities_in
from masterworker.zookeeper.operations import Create, Unreadable, Znode

WHO = Identities(master=("m",), worker=("w", "v"), client=("a", "b"), operator=("o",))
CLIENT = "0123456789abcdef"
HASH = "vPq1NcGpTAeGWmBvPkUuQKX5yTw="


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "/"),
        (paths.ACCESS_CLIENTS, "/access/clients"),
        (paths.worker("w-1"), "/workers/<worker>"),
        (paths.assignment("w-1", f"{CLIENT}-1"), "/assign/<worker>/<task>"),
        (paths.task("task-0000000001"), "/tasks/<task>"),
        (paths.statuses(CLIENT), "/status/<client>"),
        (paths.status(f"{CLIENT}-1"), "/status/<client>/<n>"),
        (paths.status("task-0000000001"), "/status/<task>"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    """Each path that we make is of the kind that the table calls it by."""
    assert kind_of(path) == kind


def test_every_folder_has_its_row() -> None:
    """A folder that is added to the tree is given its permissions before anybody needs them."""
    assert {kind_of(folder) for folder in paths.FOLDERS} == set(paths.FOLDERS)
    with pytest.raises(KeyError):
        kind_of("/unheard-of")


def test_permissions_as_letters() -> None:
    """Letters stand for permissions, both ways; all of them make what ZooKeeper calls ALL."""
    assert permissions("cdrwa") == ALL == 31
    assert [letters(permissions(text)) for text in ("wr", "", "cdrwa")] == ["rw", "-", "cdrwa"]


def test_nobody_but_the_operator_may_change_a_list() -> None:
    """No row gives `a` to anybody, and no client may write or create outside of what is its own."""
    for kind, grants in TABLE.items():
        assert "a" not in "".join(grants), kind
        assert "w" not in grants.client + grants.worker, kind
        assert "d" not in grants.client, kind
        assert "c" not in grants.client or kind in ("/tasks", "/status", "/cancel")
        assert "c" not in grants.owner, kind


def test_entries_name_each_identity_once() -> None:
    """Whoever has several roles has the permissions of all; an owner that is nobody has none."""
    both = Identities(master=("x",), worker=("x", "w"), client=("c",), operator=("o",))
    assert entries("/workers", both) == {
        "o": ALL,
        "x": permissions("cdr"),
        "w": permissions("cd"),
        "c": permissions("r"),
    }
    assert entries("/tasks/<task>", WHO, ["a", ""]) == {
        "o": ALL,
        "m": permissions("r"),
        "a": permissions("r"),
    }


@pytest.mark.parametrize(
    ("kind", "owners"),
    [
        ("/status/<client>", ["b"]),
        ("/workers/<worker>", ["v"]),
        ("/assign/<worker>/<task>", ["v", "a"]),
        ("/workers", []),
    ],
)
def test_owners_are_found_again(kind: str, owners: list[str]) -> None:
    """Whom a znode belongs to is to be seen from its list, unless that identity has no role now."""
    assert owners_in(kind, entries(kind, WHO, owners), WHO) == owners
    assert owners_in(kind, entries(kind, WHO, owners), Identities(operator=("o",))) == []


@pytest.mark.parametrize("text", [f"digest:alice:{HASH}", "x509:CN=alice,O=Example Ltd."])
def test_an_identity(text: str) -> None:
    """Identities of both kinds are taken."""
    assert check_identity(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "alice",
        "digest:alice:password",
        f"digest::{HASH}",
        "x509:alice",
        "world:anyone",
        "x509:C=\n",
    ],
)
def test_no_identity(text: str) -> None:
    """A password in place of its hash, and other mistakes, are refused with what is expected."""
    with pytest.raises(BadConfiguration, match="mwctl acl id"):
        check_identity(text)


def test_owners_and_roles_are_recorded() -> None:
    """An owner goes with its task and its worker; the record of the roles is read as written."""
    task = Task("t", "echo", owner="x509:CN=alice")
    assert records.decode_task("t", records.encode_task(task, b"")).owner == task.owner
    worker = Worker({"echo": True}, 1, 1, owner="x509:CN=worker")
    assert records.decode_worker(records.encode_worker(worker)).owner == worker.owner
    assert records.decode_access(records.encode_access(WHO)) == WHO


def _found(who: Identities) -> Znode:
    return Znode(records.encode_access(who), 0, 0, 0, 0, 0, 0)


def test_the_roles_of_a_tree() -> None:
    """No record: the tree is open. The clients are known to those who may read who they are."""
    public = Identities(WHO.master, WHO.worker, (), WHO.operator)
    assert identities_in(None, None) is None
    assert identities_in(_found(public), Unreadable(-102)) == public
    assert identities_in(_found(public), _found(Identities(client=WHO.client))) == WHO
    with pytest.raises(BadRecord, match="acl init"):
        identities_in(Znode(b"garbage", 0, 0, 0, 0, 0, 0), None)


def test_lists_are_packed_once() -> None:
    """The same kind and owner get the very same bytes; another owner gets others."""
    lists = AccessLists(WHO, "a")
    first = lists.of(Create(paths.task(f"{CLIENT}-1"), owners=("a",)))
    assert lists.of(Create(paths.task(f"{CLIENT}-2"), owners=("a",))) is first
    assert lists.of(Create(paths.task(f"{CLIENT}-3"), owners=("b",))) != first


def test_credentials_are_known_as_zookeeper_knows_them() -> None:
    """The identity is the one that ZooKeeper computes, as kazoo does too."""
    credentials = Credentials.parse("alice:pass:word\n")
    assert (credentials.user, credentials.password) == ("alice", "pass:word")
    assert credentials.id == f"digest:{make_digest_acl_credential('alice', 'pass:word')}"
    assert check_identity(credentials.id) == credentials.id


@pytest.mark.parametrize("text", ["", "alice", "alice:", ":secret", "alice:sec\nret"])
def test_bad_credentials_are_not_shown(text: str) -> None:
    """What is no user and password is refused, without quoting what might be one."""
    with pytest.raises(BadConfiguration) as refused:
        Credentials.parse(text)
    assert "secret" not in str(refused.value)


def test_no_secret_in_a_repr() -> None:
    """What is printed by accident betrays nothing."""
    login = Login(Credentials("alice", "secret"), Tls("ca", "cert", "key", key_password="secret"))
    assert "alice" in repr(login)
    assert "secret" not in repr(login) + str(login)


@pytest.mark.parametrize(("ca", "cert", "key"), [("", "", ""), ("ca", "cert", ""), ("ca", "", "k")])
def test_half_of_tls_is_refused(ca: str, cert: str, key: str) -> None:
    """A certificate goes with its key, and neither without somebody to trust."""
    with pytest.raises(BadConfiguration):
        Tls(ca, cert, key)
