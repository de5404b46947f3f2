"""What each role may not do in a locked tree, tried with its credentials and raw kazoo."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id, Permissions

from masterworker import Client, Credentials, Login, NotAuthorized, TaskContext
from masterworker.decisions.plan import plan
from masterworker.dev.server import ZooKeeperServer
from masterworker.roles.master import Master, MasterSettings
from masterworker.roles.worker import Worker, WorkerSettings
from masterworker.words import paths, records
from masterworker.words.executor import Executor
from masterworker.words.model import State, Task
from masterworker.words.model import Worker as WorkerRecord
from masterworker.zookeeper.inspection import Inspection
from masterworker.zookeeper.moves import Mover
from masterworker.zookeeper.survey import Survey
from tests.integration import running
from tests.integration.locked import Locked
from tests.waiting import eventually


@dataclass(frozen=True)
class Scene:
    """A tree at work: where bob's things lie in it, and the worker that holds one of them."""

    tree: Locked
    worker: str
    bob: str
    alice: str
    pending: str
    assigned: str
    done: str

    @property
    def folder(self) -> str:
        return paths.statuses(self.bob)


@pytest.fixture(scope="module")
def scene(server: ZooKeeperServer) -> Iterator[Scene]:
    """One of bob's tasks is pending, one runs, one is done; alice has a folder of her own."""
    tree = Locked(f"{server.hosts}/intruders-{secrets.token_hex(4)}")
    tree.lock()
    gate = threading.Event()

    def wait(payload: bytes, _task: TaskContext) -> bytes:
        if payload == b"wait":
            gate.wait(600)  # for as long as the scene lasts
        return payload

    echo = Executor("echo", lambda payload, _task: payload, inline=True)
    waits = Executor("wait", wait, inline=True)
    with (
        tree.client("alice") as alice,
        tree.client("bob", keep=True) as bob,
        running.master(tree.hosts, login=tree.login("master")),
        running.worker(tree.hosts, echo, waits, login=tree.login("worker")),
        tree.session("operator") as session,
    ):
        assert alice.submit(b"hers", executor="echo").result(20) == b"hers"
        done = bob.submit(b"his", executor="echo")
        assert done.result(20) == b"his"
        pending = bob.submit(b"secret", executor="nobody-offers")
        assigned = bob.submit(b"wait", executor="wait")
        look = Inspection(session)
        bob.flush(10)
        eventually(lambda: look.task(assigned.task_id).state is State.ASSIGNED, what="it runs")
        yield Scene(
            tree,
            worker=next(iter(look.status().workers)),
            bob=running.client_of(done.task_id),
            alice=alice._courier.account.client,
            pending=paths.task(pending.task_id),
            assigned=assigned.task_id,
            done=paths.status(done.task_id),
        )
        gate.set()


Act = Callable[[KazooClient, Scene], object]

NOT_EVEN_TO_LOOK: dict[str, Act] = {
    "list every status": lambda kazoo, _: kazoo.get_children("/status"),
    "list every task": lambda kazoo, _: kazoo.get_children("/tasks"),
    "read another's task": lambda kazoo, scene: kazoo.get(scene.pending),
    "read who may read another's task": lambda kazoo, scene: kazoo.get_acls(scene.pending),
    "list another's statuses": lambda kazoo, scene: kazoo.get_children(scene.folder),
    "read another's ledger": lambda kazoo, scene: kazoo.get(scene.folder),
    "read another's result": lambda kazoo, scene: kazoo.get(scene.done),
    "list a worker's tasks": lambda kazoo, scene: kazoo.get_children(f"/assign/{scene.worker}"),
    "read another's running task": lambda kazoo, scene: kazoo.get(
        paths.assignment(scene.worker, scene.assigned)
    ),
    "list the masters": lambda kazoo, _: kazoo.get_children("/masters"),
    "read the epoch": lambda kazoo, _: kazoo.get("/epoch"),
}
"""What neither a client nor another worker may see."""

NEVER: dict[str, Act] = {
    "delete another's task": lambda kazoo, scene: kazoo.delete(scene.pending),
    "change another's task": lambda kazoo, scene: kazoo.set(scene.pending, b"mine"),
    "delete another's result": lambda kazoo, scene: kazoo.delete(scene.done),
    "change another's result": lambda kazoo, scene: kazoo.set(scene.done, b"forged"),
    "change another's ledger": lambda kazoo, scene: kazoo.set(scene.folder, b""),
    "delete another's folder": lambda kazoo, scene: kazoo.delete(scene.folder),
    "open another's folder": lambda kazoo, scene: kazoo.set_acls(scene.folder, OPEN_ACL_UNSAFE),
    "change the epoch": lambda kazoo, _: kazoo.set("/epoch", b""),
    "delete the epoch": lambda kazoo, _: kazoo.delete("/epoch"),
    "take office": lambda kazoo, _: kazoo.create("/master", b""),
    "depose the primary": lambda kazoo, _: kazoo.delete("/master"),
    "pose as a master": lambda kazoo, _: kazoo.create("/masters/me", b""),
    "change a worker": lambda kazoo, scene: kazoo.set(paths.worker(scene.worker), b""),
    "assign a task": lambda kazoo, scene: kazoo.create(f"/assign/{scene.worker}/mine", b""),
    "take a worker's task": lambda kazoo, scene: kazoo.delete(
        paths.assignment(scene.worker, scene.assigned)
    ),
    "add to the tree": lambda kazoo, _: kazoo.create("/mine", b""),
    "add to the roles": lambda kazoo, _: kazoo.set("/access", b""),
    "remove the roles": lambda kazoo, _: kazoo.delete("/access"),
    "open the tree": lambda kazoo, _: kazoo.set_acls("/", OPEN_ACL_UNSAFE),
    "open the tasks": lambda kazoo, _: kazoo.set_acls("/tasks", OPEN_ACL_UNSAFE),
    "change the sum of the books": lambda kazoo, _: kazoo.set("/status", b""),
    "answer a wish": lambda kazoo, _: kazoo.get_children("/cancel"),
}
"""What neither a client nor a worker may do."""

NO_CLIENT: dict[str, Act] = {
    "forge another's status": lambda kazoo, scene: kazoo.create(f"{scene.folder}/77", b"forged"),
    "forge one's own status": lambda kazoo, scene: kazoo.create(f"/status/{scene.alice}/77", b""),
    "pose as a worker": lambda kazoo, _: kazoo.create("/workers/me", b""),
    "make a worker's folder": lambda kazoo, _: kazoo.create("/assign/me", b""),
    "remove a worker": lambda kazoo, scene: kazoo.delete(paths.worker(scene.worker)),
    "read who the other clients are": lambda kazoo, _: kazoo.get("/access/clients"),
}
"""What a worker may do, and no client."""


@pytest.fixture(scope="module")
def alice(scene: Scene) -> Iterator[KazooClient]:
    """A raw client with alice's credentials."""
    with scene.tree.kazoo("alice") as kazoo:
        yield kazoo


@pytest.fixture(scope="module")
def other(scene: Scene) -> Iterator[KazooClient]:
    """A raw client with the credentials of a worker that runs none of bob's tasks."""
    with scene.tree.kazoo("other") as kazoo:
        yield kazoo


@pytest.fixture(scope="module")
def operator(scene: Scene) -> Iterator[KazooClient]:
    """A raw client that may do everything."""
    with scene.tree.kazoo("operator") as kazoo:
        yield kazoo


@pytest.mark.parametrize("what", [*NOT_EVEN_TO_LOOK, *NEVER, *NO_CLIENT])
def test_a_client_cannot(what: str, scene: Scene, alice: KazooClient) -> None:
    """ZooKeeper itself refuses it to another client, who even knows all the names."""
    act = (NOT_EVEN_TO_LOOK | NEVER | NO_CLIENT)[what]
    with pytest.raises(NoAuthError):
        act(alice, scene)


@pytest.mark.parametrize("what", [*NOT_EVEN_TO_LOOK, *NEVER])
def test_a_worker_cannot(what: str, scene: Scene, other: KazooClient) -> None:
    """ZooKeeper itself refuses it to a worker, also what belongs to one of another identity."""
    with pytest.raises(NoAuthError):
        (NOT_EVEN_TO_LOOK | NEVER)[what](other, scene)


@pytest.mark.parametrize("what", NOT_EVEN_TO_LOOK)
def test_the_operator_can(what: str, scene: Scene, operator: KazooClient) -> None:
    """The same acts succeed with the right credentials: they were refused for want of these."""
    NOT_EVEN_TO_LOOK[what](operator, scene)


def test_an_owner_sees_what_is_hers_from_another_process(scene: Scene) -> None:
    """`tasks show` and `tasks result` find bob's tasks wherever they are, and alice's find none."""
    tasks = [scene.pending.rpartition("/")[2], scene.assigned, f"{scene.bob}-1"]
    with scene.tree.session("bob") as session:
        seen = [Inspection(session).task(task).state for task in tasks]
        assert seen == [State.PENDING, State.ASSIGNED, State.DONE]
        assert Inspection(session).result(tasks[2]) == b"his"
    with scene.tree.session("alice") as session:
        for task in tasks:
            with pytest.raises(NotAuthorized):
                Inspection(session).task(task)


def role(start: str, hosts: str, login: Login) -> running.Role:
    """A master or a worker that is not running yet."""
    if start == "master":
        return Master(hosts, MasterSettings(login=login))
    return Worker(hosts, {"echo": running.ECHO}, WorkerSettings(login=login))


@pytest.mark.parametrize("password", ["", "a wrong password"])
def test_a_stranger_gets_nowhere(scene: Scene, password: str) -> None:
    """Without credentials, or with a wrong password, every role ends at once with exit code 77."""
    login = Login(Credentials("alice", password)) if password else Login()
    with pytest.raises(NotAuthorized, match="locked down"):
        Client(scene.tree.hosts, login=login)
    for start in ("master", "worker"):
        with pytest.raises(NotAuthorized, match="locked down"):
            role(start, scene.tree.hosts, login).run()
    assert NotAuthorized.exit_code == 77


@pytest.mark.parametrize(("start", "name"), [("master", "worker"), ("worker", "alice")])
def test_nobody_takes_another_role(scene: Scene, start: str, name: str) -> None:
    """A master with a worker's identity, and a worker with a client's, end with 77 and say why."""
    with pytest.raises(NotAuthorized, match="is not among the"):
        role(start, scene.tree.hosts, scene.tree.login(name)).run()


def test_an_impossible_owner_harms_nobody_else(scene: Scene, operator: KazooClient) -> None:
    """A client's lie about whose a task is sets that task aside, and no worker with it."""
    tree = scene.tree
    late = Executor("late", lambda payload, _task: payload, inline=True)
    lie = paths.task("0123456789abcdef-1")
    record = records.encode_task(Task("0123456789abcdef-1", "late", owner="x509:nobody"), b"lie")
    with (
        tree.client("bob") as bob,
        running.worker(tree.hosts, late, login=tree.login("other")),
    ):
        operator.create(lie, record, operator.get_acls(scene.pending)[0])
        assert bob.submit(b"true", executor="late").result(20) == b"true"
        assert operator.exists(lie)
        operator.delete(lie)


def pose_as_worker(tree: Locked, kazoo: KazooClient, name: str, owner: str) -> list[ACL]:
    """Register a worker that offers `late` by hand; return its access list, without the master."""
    ours, masters = (Id(*tree.credentials[one].id.split(":", 1)) for one in ("other", "master"))
    own = [ACL(Permissions.ALL, ours)]
    record = records.encode_worker(WorkerRecord({"late": True}, 100, 0, owner=owner))
    kazoo.create(f"/assign/{name}", b"", [*own, ACL(Permissions.ALL, masters)])
    kazoo.create(f"/workers/{name}", record, [*own, ACL(Permissions.READ, masters)], ephemeral=True)
    return own


def test_a_worker_unknown_to_the_master_is_given_nothing(scene: Scene, other: KazooClient) -> None:
    """It could not read its tasks: they go to a worker that can."""
    tree = scene.tree
    unknown = tree.credentials["alice"].id
    pose_as_worker(tree, other, "unknown", unknown)
    late = Executor("late", lambda payload, _task: payload, inline=True)
    with (
        tree.client("bob") as bob,
        running.worker(tree.hosts, late, login=tree.login("worker")),
    ):
        futures = bob.submit_many([b"x"] * 20, executor="late")
        assert [future.result(20) for future in futures] == [b"x"] * 20
    assert other.get_children("/assign/unknown") == []
    other.delete("/workers/unknown")


def test_a_worker_that_hides_is_given_nothing_more(server: ZooKeeperServer) -> None:
    """A worker closes its registration once it is known: the primary does not try again at once."""
    tree = Locked(f"{server.hosts}/hiding-{secrets.token_hex(4)}")
    tree.lock()
    with (
        tree.session("master") as session,
        tree.kazoo("other") as other,
        tree.client("bob") as bob,
    ):
        bob.submit(b"x", executor="late")
        bob.flush(10)
        own = pose_as_worker(tree, other, "hiding", tree.credentials["other"].id)
        survey = Survey(session)
        survey.refresh()
        moves = plan(survey.snapshot(), time.time())
        assert len(moves) == 1
        other.set_acls("/workers/hiding", own)
        assert Mover(session, survey, 0).carry_out(moves).overtaken == 1
        survey.refresh()
        assert plan(survey.snapshot(), time.time()) == []
