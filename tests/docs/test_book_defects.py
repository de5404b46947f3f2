"""The page on the book's defects: none is left out, and every test it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "book-defects.md").read_text(encoding="utf-8")

ROWS = re.findall(r"^\| (B\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)

NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)))


def test_every_defect_is_there_once() -> None:
    """B1 to B31 have one row each."""
    assert sorted(int(number[1:]) for number, *_ in ROWS) == list(range(1, 32))


def test_every_defect_has_its_test() -> None:
    """The last column of each row names tests, and nothing else."""
    for number, _, _, shown in ROWS:
        for test in shown.split(", "):
            assert re.fullmatch(r"tests/[\w/]+\.py::test_\w+", test), number


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_named_exists(file: str, name: str) -> None:
    """The file is there, and defines a test of that name at its top."""
    module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert name in functions
