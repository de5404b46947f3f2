"""The page on failure scenarios lists all of them, each with tests that exist or as open."""

from __future__ import annotations

import re

import pytest

from tests.docs import pages

CORE = pages.ROOT / "core" / "masterworker"
PAGE = pages.text(pages.DOCS / "failure-scenarios.md")

ROWS = re.findall(r"^\| \[(\d+)\]\(#(s\d+)\) \| .+ \| .+ \|$", PAGE, re.MULTILINE)

EVIDENCE = pages.evidence(PAGE)

NAMED = sorted(
    {
        test
        for item in EVIDENCE.values()
        if not item.startswith("open: ")
        for test in pages.named_tests(item)
    }
)


def test_every_scenario_is_listed_once() -> None:
    """1 to 36 have one row each."""
    assert sorted(int(number) for number, _ in ROWS) == list(range(1, 37))


def test_every_scenario_has_its_tests_or_is_open() -> None:
    """Each row links to its own entry in the list of tests; an entry without tests says why."""
    assert [anchor for _, anchor in ROWS] == [f"s{number}" for number, _ in ROWS]
    assert set(EVIDENCE) == {anchor for _, anchor in ROWS}
    assert NAMED


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file: str, name: str) -> None:
    """The file exists and defines a test of that name at its top level."""
    assert pages.defines(file, name)


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
