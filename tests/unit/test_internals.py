"""What is relied on of kazoo's private parts: in one module, and checked before it is used."""

from __future__ import annotations

import ast
import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

import masterworker
from masterworker.words.errors import BadConfiguration
from masterworker.words.login import Login
from masterworker.zookeeper import connection, internals

CORE = Path(masterworker.__file__).parent
KAZOO = Path("zookeeper")  # the only package that imports kazoo
ALLOWED = KAZOO / "internals.py"
NAMES = ("_call", "_connection", "_connect", "_invoke", "_CONNECTION_DROP")
OURS = {"_replace", "_make", "_asdict", "_fields"}  # of named tuples


def private_parts(source: str) -> Iterator[str]:
    """The private names in a source that are taken from something else than self, or imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kazoo"):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield f"{ast.unparse(node.value)}.{node.attr}"
        elif isinstance(node, ast.Constant) and node.value in NAMES:
            yield str(node.value)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OURS


def test_no_other_module_touches_what_is_private() -> None:
    """No module that can hold an object of kazoo's uses a private part of anything but itself."""
    for path in sorted((CORE / KAZOO).glob("*.py")):
        if path.relative_to(CORE) != ALLOWED:
            assert list(private_parts(path.read_text())) == [], path


def test_no_module_outside_holds_a_client_of_kazoos() -> None:
    """The client is an attribute of the session, and of nothing else."""
    for path in sorted(CORE.rglob("*.py")):
        if path.parent != CORE / KAZOO:
            found = [part for part in private_parts(path.read_text()) if "kazoo" in part]
            assert found == [], path


@pytest.mark.parametrize(
    "source",
    [
        "self._kazoo._call(x, y)",
        "kazoo._connection._connect = 1",
        "from kazoo.protocol.connection import _CONNECTION_DROP",
        "getattr(kazoo, '_call')",
    ],
)
def test_the_walk_finds_private_parts(source: str) -> None:
    """It would not pass for want of eyes."""
    assert list(private_parts(source))


def test_all_is_used_that_is_said_to_be_relied_on() -> None:
    """The list has no part that nothing uses any more, and the docstring explains each."""
    sources = "".join(path.read_text() for path in (CORE / KAZOO).glob("*.py"))
    for _, name, _ in internals.PARTS:
        last = name.rpartition(".")[2]
        assert sources.count(last) > 2, name  # beside the list and the docstring
        assert last in (internals.__doc__ or ""), name


@pytest.mark.parametrize("part", [f"{module}.{name}" for module, name, _ in internals.PARTS])
def test_a_missing_part_is_named(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the version of kazoo, the part, and the version that would do."""
    missing = next((m, n) for m, n, _ in internals.PARTS if f"{m}.{n}" == part)
    found = internals._find
    monkeypatch.setattr(internals, "_find", lambda m, n: None if (m, n) == missing else found(m, n))
    with pytest.raises(BadConfiguration) as caught:
        internals.check.__wrapped__()
    assert part in str(caught.value)
    assert importlib.metadata.version("kazoo") in str(caught.value)
    assert "pip install 'kazoo>=2.10,<2.12'" in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_part_that_takes_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and would be called wrongly."""
    monkeypatch.setattr(KazooClient, "_call", lambda _self, _request: None)
    with pytest.raises(BadConfiguration, match="_call takes other parameters"):
        internals.check.__wrapped__()


@pytest.mark.parametrize("version", ["1.9", "2.9.0", "2.12.0", "3.0", "2.12rc1"])
def test_an_untried_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has: what its private parts mean may have changed."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(BadConfiguration, match=f"kazoo {version} is installed"):
        internals.check.__wrapped__()


@pytest.mark.parametrize("version", ["2.10.0", "2.11", "2.11.5"])
def test_a_tried_version_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All versions that pyproject.toml allows, and no others."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    internals.check.__wrapped__()
    project = tomllib.loads((CORE.parents[1] / "pyproject.toml").read_text())["project"]
    assert "kazoo>=2.10,<2.12" in project["dependencies"]


def test_it_is_checked_before_the_first_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client of kazoo's is made before."""

    def refuse() -> None:
        raise BadConfiguration("checked")

    monkeypatch.setattr(internals, "check", refuse)
    monkeypatch.setattr(connection, "KazooClient", None)
    with pytest.raises(BadConfiguration, match="checked"):
        connection.kazoo_client("127.0.0.1", Login(), 1.0)
