"""The layers and which may import which, checked in the source of every module.

    4  roles, execution, dev, cli
    3  zookeeper        the only importer of kazoo
    2  decisions        pure
    1  words            pure

The façade `masterworker` and `__main__` are above all layers. Every import counts, including those
inside functions and for type checkers: no layer may need a name from a higher one.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "masterworker"
US = "masterworker"

TOP = ("roles", "execution", "dev", "cli")
FLOORS = {"words": 1, "decisions": 2, "zookeeper": 3} | dict.fromkeys(TOP, 4)
ABOVE_ALL = 5
PURE = ("words", "decisions")
IMPURE = {
    "asyncio", "concurrent", "datetime", "http", "kazoo", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Import:
    """One import: where it stands, the full name of what it imports, and whether it runs at once.

    `at_once` is False inside functions and under `if TYPE_CHECKING`.
    """

    module: str
    imported: str
    line: int
    at_once: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.imported}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the core by its full name."""
    found = {}
    for path in CORE.rglob("*.py"):
        parts = path.relative_to(CORE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, path: Path) -> Iterator[Import]:
    """The imports of one module, with relative ones made absolute."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
        for alias in node.names:
            inner = f"{origin}.{alias.name}"
            yield inner if inner in modules() else origin

    def walk(nodes: Iterable[ast.AST], at_once: bool) -> Iterator[Import]:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in names(node):
                    yield Import(module, name, node.lineno, at_once)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from walk(node.body, at_once=False)
                yield from walk(node.orelse, at_once)
            else:
                inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(ast.iter_child_nodes(node), at_once and not inside)

    return walk([ast.parse(path.read_text(encoding="utf-8"))], at_once=True)


@cache
def imports() -> list[Import]:
    """Every import in the core."""
    return [one for module, path in modules().items() for one in imports_of(module, path)]


def part(module: str) -> str:
    """The package of the core that a module belongs to; "" for the façade and what lies beside."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in FLOORS else ""


def floor(module: str) -> int:
    return FLOORS.get(part(module), ABOVE_ALL)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == US


def only(found: Iterable[Import], complaint: str) -> None:
    """Fail with every offending import, if there is one."""
    assert not [str(one) for one in found], complaint


def test_the_walk_sees_the_house() -> None:
    """The tests below look at something: the house's parts and its best known imports are found."""
    assert {part(module) for module in modules()} >= {*FLOORS, ""}
    seen = {(one.module, one.imported) for one in imports()}
    assert ("masterworker.decisions.plan", "masterworker.decisions.life") in seen
    assert ("masterworker.zookeeper.connection", "kazoo.client") in seen
    assert ("masterworker", "masterworker.roles.client") in seen
    lazy = {one.imported for one in imports() if one.module == US and not one.at_once}
    assert "masterworker.roles.client" in lazy


def test_every_package_has_its_floor() -> None:
    """A new package is given a floor before it is given code."""
    packages = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert packages <= FLOORS.keys()


def test_a_floor_imports_only_what_lies_below_it() -> None:
    """Or what lies beside it, on the floors of more than one package. Never what lies above."""
    upwards = [
        one
        for one in imports()
        if is_ours(one.imported) and one.imported != US and floor(one.imported) > floor(one.module)
    ]
    only(upwards, "imports from a floor above")


def test_the_facade_is_for_the_top() -> None:
    """Below the fourth floor nobody imports the façade; on it, at most for the version."""
    only(
        (one for one in imports() if one.imported == US and floor(one.module) < 4),
        "imports the façade from below",
    )


def test_words_and_decisions_are_pure() -> None:
    """No ZooKeeper, no clock, no threads, no files, no chance, not even a log line."""
    impure = [
        one
        for one in imports()
        if part(one.module) in PURE and one.imported.partition(".")[0] in IMPURE
    ]
    only(impure, "a pure floor imports what is not")


def test_only_the_third_floor_imports_kazoo() -> None:
    """Whoever wants to replace kazoo, or to know how it is used, looks into one package."""
    only(
        (
            one
            for one in imports()
            if one.imported.partition(".")[0] == "kazoo" and part(one.module) != "zookeeper"
        ),
        "imports kazoo outside of zookeeper/",
    )


def test_execution_knows_the_words_alone() -> None:
    """Running an executor needs no ZooKeeper, no plan and no role."""
    only(
        (
            one
            for one in imports()
            if part(one.module) == "execution"
            and is_ours(one.imported)
            and part(one.imported) not in ("execution", "words")
        ),
        "execution imports more than the words",
    )


def test_imports_go_in_no_circle() -> None:
    """What is imported at once forms no cycle between modules."""
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for one in imports():
        if one.at_once and one.imported in graph and one.imported != US:
            graph[one.module].add(one.imported)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def outsiders() -> list[Path]:
    """The modules of the plugins and the examples, and the examples' tests."""
    folders = (ROOT / "plugins", ROOT / "examples")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


@pytest.mark.parametrize("path", outsiders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_only_the_facade(path: Path) -> None:
    """What a third party's package can do, ours do too, with the same names."""
    only(
        (
            one
            for one in imports_of("outside.module", path)
            if is_ours(one.imported) and one.imported != US
        ),
        "imports more than the façade",
    )


@pytest.mark.parametrize("module", ["masterworker", "masterworker.execution.child"])
def test_a_plugin_pays_for_no_zookeeper(module: str) -> None:
    """The façade, and the process an attempt runs in, load neither kazoo nor the command line."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert US in loaded
    assert not loaded & {"kazoo", "click"}


def test_the_facade_offers_what_it_says() -> None:
    """Every public name can be had, and no other."""
    import masterworker

    for name in masterworker.__all__:
        assert getattr(masterworker, name) is not None
    with pytest.raises(AttributeError, match="Nothing"):
        _ = masterworker.Nothing
