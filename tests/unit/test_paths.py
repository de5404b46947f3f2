"""Paths and names: one place builds them, and it lets nothing odd through."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masterworker.roles.worker import WorkerSettings
from masterworker.words import limits, paths, records
from masterworker.words.errors import BadConfiguration, BadName
from masterworker.words.model import Master
from tests.unit import strategies

CLIENT = "0123456789abcdef"


@given(strategies.clients, strategies.numbers)
def test_a_task_id_can_be_taken_apart(client: str, number: int) -> None:
    """A task id gives back the client and the number it was made of."""
    task = paths.task_id(client, number)
    assert paths.is_task(task)
    assert paths.is_name(task)
    assert paths.split_task(task) == (client, number)


@given(strategies.clients, strategies.numbers)
def test_a_status_lies_in_its_clients_folder(client: str, number: int) -> None:
    """The status path of one of our tasks follows from its id: /status/<client>/<n>."""
    path = paths.status(paths.task_id(client, number))
    assert path == f"/status/{client}/{number}"
    assert paths.parent(path) == paths.statuses(client)
    assert paths.is_number(path.rpartition("/")[2])


@pytest.mark.parametrize(
    "name",
    [
        "task-0000000001",
        f"{CLIENT}-0",
        f"{CLIENT}-01",
        f"{CLIENT}-",
        f"{CLIENT}-1\n",
        f"{CLIENT.upper()}-1",
        f"{CLIENT[1:]}-1",
        f"{CLIENT}-1000000000000000",
        f"{CLIENT}-١",  # noqa: RUF001 - a digit, but not one of ours
    ],
)
def test_any_other_name_is_a_book_clients_task(name: str) -> None:
    """What is no task id of ours keeps its status directly under /status, and cannot be split."""
    assert not paths.is_task(name)
    assert paths.status(name) == f"/status/{name}"
    with pytest.raises(BadName, match=re.escape("expected <client>-<n>")):
        paths.split_task(name)


def test_the_tree() -> None:
    """Each kind of znode lies where the design's tree says."""
    assert paths.master("m") == "/masters/m"
    assert paths.worker("w") == "/workers/w"
    assert paths.assignments("w") == "/assign/w"
    assert paths.assignment("w", "t") == "/assign/w/t"
    assert paths.task("t") == "/tasks/t"
    assert paths.statuses("c") == "/status/c"
    assert {paths.parent(folder) for folder in paths.FOLDERS} == {"/"}
    assert paths.MASTER not in paths.FOLDERS, "/master exists only while somebody is in office"


@given(strategies.names)
def test_a_sound_name_passes(name: str) -> None:
    """Printable ASCII without blank and slash is a name, and is returned as it is."""
    assert paths.check_name(name, "worker") == name


@given(st.text(max_size=30))
def test_a_name_never_leads_elsewhere(name: str) -> None:
    """Whatever passes for a name stays one visible component of a path."""
    if paths.is_name(name):
        path = paths.task(name)
        assert paths.parent(path) == paths.TASKS
        assert name.isascii()
        assert name.isprintable()
        assert " " not in name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a\n", "a\0", "é", "\u202eabc", "x" * 201]
)
def test_an_unsound_name_is_refused(name: str) -> None:
    """A name that could mislead a path, a log line or a reader raises BadName with what it was."""
    with pytest.raises(BadName, match="is not a valid worker"):
        paths.check_name(name, "worker")


def test_a_name_may_be_exactly_as_long_as_the_limit() -> None:
    """The bounds of names are inclusive."""
    assert paths.is_name("x" * limits.MAX_NAME)
    assert not paths.is_name("x" * (limits.MAX_NAME + 1))
    assert paths.is_executor("x" * limits.MAX_EXECUTOR_NAME)
    assert not paths.is_executor("x" * (limits.MAX_EXECUTOR_NAME + 1))


@given(strategies.executors)
def test_a_sound_executor_name_passes(name: str) -> None:
    """Every executor's name is a name as well."""
    assert paths.check_executor(name) == name
    assert paths.is_name(name)


@pytest.mark.parametrize("name", ["", "Read", "-x", ".x", "_x", "a:b", "a b", "x\n", "é", "x" * 65])
def test_an_unsound_executor_name_is_refused(name: str) -> None:
    """BadName says which characters an executor's name may have."""
    with pytest.raises(BadName, match="lower-case"):
        paths.check_executor(name)


def test_a_bad_name_is_a_configuration_error() -> None:
    """`mwctl` ends with 78 on a bad name, and plain Python code can catch it as a ValueError."""
    assert issubclass(BadName, BadConfiguration)
    assert issubclass(BadName, ValueError)
    assert BadName.exit_code == 78


def test_the_parent_of_a_folder_is_the_root() -> None:
    """One level up from a top folder is the root, never an empty path."""
    assert paths.parent("/tasks") == "/"
    assert paths.parent("/assign/w/t") == "/assign/w"


HOSTNAMES = [
    "vm-1.example.com",
    "a/b",
    "",
    ".",
    "..",
    "x" * 300,
    "rechner-ä-平文",
    "a b\tc\nd\x00",
    "\udcff\udcfe",
    "-",
    "/",
]


@pytest.mark.parametrize("hostname", HOSTNAMES)
def test_every_host_name_makes_an_id(hostname: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a znode's name with something behind it, and what it was can be recorded and read."""
    name = paths.name_of_host(hostname)
    assert paths.is_name(name)
    assert paths.is_name(f"{name}-{'f' * 16}")
    assert len(name) <= paths.MAX_HOST
    record = records.encode_master(Master(f"{name}-1", limits.printable(hostname), 1))
    read = records.decode_master(record)
    assert read.id == f"{name}-1"
    assert len(read.host) <= limits.MAX_TEXT
    assert read.host.isprintable()
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    assert WorkerSettings().name == name


def test_a_usual_host_name_stays_as_it_is() -> None:
    """Only what cannot stand in a path is replaced."""
    assert paths.name_of_host("vm-1.example.com") == "vm-1.example.com"
    assert paths.name_of_host("a/b c") == "a-b-c"
