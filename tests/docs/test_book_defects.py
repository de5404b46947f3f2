"""The page on the book's defects lists all of them, with tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs import pages

PAGE = pages.text(pages.DOCS / "book-defects.md")

ROWS = re.findall(r"^\| \[B(\d+)\]\(#(b\d+)\) \| .+ \| .+ \|$", PAGE, re.MULTILINE)

EVIDENCE = pages.evidence(PAGE)

NAMED = sorted({test for item in EVIDENCE.values() for test in pages.named_tests(item)})


def test_every_defect_is_listed_once() -> None:
    """B1 to B31 have one row each."""
    assert sorted(int(number) for number, _ in ROWS) == list(range(1, 32))


def test_every_defect_has_its_tests() -> None:
    """Each row links to its own entry in the list of tests."""
    assert [anchor for _, anchor in ROWS] == [f"b{number}" for number, _ in ROWS]
    assert set(EVIDENCE) == {anchor for _, anchor in ROWS}
    assert NAMED


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file: str, name: str) -> None:
    """The file exists and defines a test of that name at its top level."""
    assert pages.defines(file, name)
