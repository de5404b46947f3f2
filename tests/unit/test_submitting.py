"""How submissions are prepared: in order, within a bound of memory, all of them or none."""

from __future__ import annotations

import copy
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masterworker import (
    BadConfiguration,
    Client,
    Credentials,
    Login,
    PayloadTooLarge,
    TaskFuture,
    Tls,
)
from masterworker.cli.submitting import submit as submit_command
from masterworker.roles import client as client_module
from masterworker.roles import environment
from masterworker.roles.account import Submission
from masterworker.roles.courier import Courier
from masterworker.roles.keyfile import new_key
from masterworker.words import limits, records
from masterworker.words.login import Login as LoginRecord
from masterworker.zookeeper.operations import Create


def test_tasks_are_posted_in_the_order_of_their_numbers(
    posted: list[Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread stands still in the middle of a submission, and another one overtakes it."""
    client = Client("localhost")
    first = threading.Event()

    def overtake(_courier: Courier, _most: int, _timeout: float | None) -> bool:
        if not first.is_set():
            first.set()
            other = threading.Thread(target=client.submit, args=(b"other",))
            other.start()
            other.join(10)
        return True

    monkeypatch.setattr(Courier, "wait_until_unsent", overtake)
    client.submit_many([b"one", b"two"])
    assert [submission.number for submission in posted] == [1, 2, 3]


def test_what_is_not_accepted_is_a_set() -> None:
    """A task is known to be accepted only if it was, whatever the order of the others."""
    courier = Courier("localhost", LoginRecord(), 10.0)
    made = [_submission(number) for number in (2, 1, 3)]
    courier.post(made)
    assert [courier.is_accepted(number) for number in (1, 2, 3)] == [False] * 3
    courier._sending(made[:2])
    assert courier.unconfirmed() == [1, 2]
    courier._settled([made[0]])
    assert [courier.is_accepted(number) for number in (1, 2, 3)] == [False, True, False]
    assert courier.unconfirmed() == [1]


def _submission(number: int) -> Submission:
    task = f"{'0' * 16}-{number}"
    create = Create(f"/tasks/{task}")
    return Submission(number, create, TaskFuture(task))


def test_payloads_are_prepared_within_a_bound(
    posted: list[Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views of 180 MB are submitted, and a few MB of them are in memory at a time."""
    view = memoryview(bytes(limits.MAX_PAYLOAD))
    waited = 0

    def accepted(_courier: Courier, most: int, _timeout: float | None) -> bool:
        nonlocal waited
        assert most == client_module.UNSENT_BYTES
        assert sum(len(one.create.data) for one in posted) < 2 * client_module.POSTED_BYTES
        posted.clear()
        waited += 1
        return True

    monkeypatch.setattr(Courier, "wait_until_unsent", accepted)
    client = Client("localhost")
    tracemalloc.start()
    try:
        futures = client.submit_many([view] * 200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(futures) == 200
    assert waited == 40
    assert peak < 4 * client_module.POSTED_BYTES


def test_small_payloads_are_posted_many_at_a_time(
    posted: list[Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound in bytes does not make the groups of small ones smaller."""
    groups: list[int] = []
    monkeypatch.setattr(Courier, "post", lambda _courier, group: groups.append(len(group)))
    Client("localhost").submit_many([b"x"] * 2_500)
    assert (groups, posted) == ([1_000, 1_000, 500], [])


def _endless_failure() -> Iterator[bytes]:
    yield b"good"
    raise OSError("the disk has gone")


@pytest.mark.parametrize(
    ("payloads", "kind"),
    [
        ((one for one in [b"x"] * 3_000 + [b"x" * (limits.MAX_PAYLOAD + 1)]), PayloadTooLarge),
        ((one for one in [b"good", None]), TypeError),
        (_endless_failure(), OSError),
    ],
)
def test_of_an_iterator_all_is_submitted_or_nothing(
    posted: list[Submission], payloads: Iterable[Any], kind: type[Exception]
) -> None:
    """Its last payload is refused, or it fails itself: none of the others is submitted."""
    with pytest.raises(kind):
        Client("localhost").submit_many(payloads)
    assert posted == []


def test_map_takes_what_submit_takes(posted: list[Submission]) -> None:
    """Attempts and options reach every task."""
    client = Client("localhost")
    results = client.map("echo", [b"a", b"b"], attempts=3, options={"size": "1"}, timeout=0.0)
    with pytest.raises(TimeoutError):
        next(results)
    tasks = [records.decode_task("t", one.create.data) for one in posted]
    assert [(one.attempts, one.options) for one in tasks] == [(3, {"size": "1"})] * 2
    for window in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match="window"):
            client.map("echo", [b"a"], window=window)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", ["client", "future"])
def test_what_belongs_to_this_process_is_not_pickled(posted: list[Submission], thing: str) -> None:
    """The error says what to do instead."""
    client = Client("localhost")
    future = client.submit(b"x")
    assert len(posted) == 1
    with pytest.raises(TypeError, match=r"in each process|Client\.attach"):
        copy.copy({"client": client, "future": future}[thing])


# --- the environment ---------------------------------------------------------------------------


@pytest.fixture
def made(posted: list[Submission], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Login]]:
    """The hosts and the login of each client of a test, which starts with no MWCTL_ variables."""
    kept: list[tuple[str, Login]] = []
    initialise = Courier.__init__

    def note(courier: Courier, hosts: str, login: Login, *others: Any, **options: Any) -> None:
        kept.append((hosts, login))
        initialise(courier, hosts, LoginRecord(), *others, **options)

    monkeypatch.setattr(Courier, "__init__", note)
    for name in vars(environment).values():
        if isinstance(name, str) and name.startswith("MWCTL_"):
            monkeypatch.delenv(name, raising=False)
    assert posted == []
    return kept


def test_a_client_reads_the_variables_of_mwctl(
    made: list[tuple[str, Login]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hosts, credentials, TLS and keys; what is given explicitly wins."""
    secret, keys = tmp_path / "secret", tmp_path / "keys"
    for file, text in ((secret, "alice:secret"), (keys, new_key("k1"))):
        file.touch(mode=0o600)
        file.write_text(text + "\n")
    Client()
    assert made.pop() == ("127.0.0.1:2181", Login())
    variables = {
        "MWCTL_HOSTS": "zk1:2181/prod",
        "MWCTL_CREDENTIALS": str(secret),
        "MWCTL_TLS_CA": "ca.pem",
        "MWCTL_TLS_CERT": "me.crt",
        "MWCTL_TLS_KEY": "me.key",
        "MWCTL_TLS_KEY_PASSWORD": "open",
        "MWCTL_TLS_INSECURE_SKIP_HOST_CHECK": "1",
        "MWCTL_KEY_FILE": str(keys),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tls = Tls("ca.pem", "me.crt", "me.key", "open", check_hostname=False)
    login = Login(Credentials("alice", "secret"), tls)
    client = Client()
    assert made.pop() == ("zk1:2181/prod", login)
    assert client._keys is not None
    client = Client("other:1", login=Login(), key_file="")
    assert made.pop() == ("other:1", Login())
    assert client._keys is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MWCTL_TLS_CERT", "me.crt"),
        ("MWCTL_TLS_INSECURE_SKIP_HOST_CHECK", "perhaps"),
        ("MWCTL_TLS_INSECURE_SKIP_HOST_CHECK", "yes"),
        ("MWCTL_CREDENTIALS", "/nothing/there"),
        ("MWCTL_USER_PASSWORD", "nocolon"),
        ("MWCTL_KEY_FILE", "/nothing/there"),
    ],
)
def test_a_wrong_variable_is_said(
    made: list[tuple[str, Login]], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Before anything is connected to."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadConfiguration):
        Client()
    assert made == []


def test_the_variables_are_those_of_the_options() -> None:
    """Each is named as `mwctl submit` names it; two secrets have no option, on purpose."""
    options = {option.envvar for option in submit_command.params if option.envvar}
    names = {
        name
        for name in vars(environment).values()
        if isinstance(name, str) and name.startswith("MWCTL_")
    }
    assert names - {environment.USER_PASSWORD, environment.KEY_PASSWORD} <= options
