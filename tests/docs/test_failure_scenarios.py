"""The page on failure scenarios: none is left out, and each names tests that exist, or is open."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs import pages

CORE = pages.ROOT / "core" / "masterworker"
PAGE = pages.text(pages.DOCS / "failure-scenarios.md")

ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)

NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)))

UNNAMED = "open: to be named"
"""What a row says while its test is being written."""


def test_every_scenario_is_there_once() -> None:
    """1 to 36 have one row each."""
    assert sorted(int(number) for number, *_ in ROWS) == list(range(1, 37))


@pytest.mark.parametrize(("number", "shown"), [(row[0], row[3]) for row in ROWS])
def test_every_scenario_is_shown_or_says_why_not(number: str, shown: str) -> None:
    """The last column names tests and nothing else, or gives the reason why it cannot."""
    assert shown != UNNAMED, f"scenario {number} has no test yet"
    if not re.match(r"open: |not applicable: ", shown):
        for test in shown.split(", "):
            assert re.fullmatch(r"tests/[\w/]+\.py::test_\w+", test), number


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_named_exists(file: str, name: str) -> None:
    """The file is there, and defines a test of that name at its top."""
    module = ast.parse(pages.text(pages.ROOT / file))
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert name in functions


def test_every_failpoint_is_used() -> None:
    """Each step at which a process can be made to die is one at which a test makes it die."""
    steps = {
        step
        for file in CORE.rglob("*.py")
        for step in re.findall(r'failpoint\("([\w.-]+)"\)', pages.text(file))
    }
    tests = "".join(pages.text(file) for file in (pages.ROOT / "tests").rglob("*.py"))
    assert steps
    assert {step for step in steps if step not in tests} == set()
