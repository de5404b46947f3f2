"""The page on reliability names every violation that the campaign's verifier looks for."""

from __future__ import annotations

from tests.chaos.verdict import Promise
from tests.docs import pages

PAGE = pages.text(pages.DOCS / "reliability.md")


def test_every_violation_is_described() -> None:
    """The table has each kind of violation by its name in the report, and no other."""
    shown = [row[0] for row in pages.rows(PAGE, "| Violation | What the verifier compares |")]
    names = [name for cell in shown for name in cell.split(", ")]
    assert sorted(names) == sorted(promise.value for promise in Promise)
    assert f"{len(Promise)} kinds of violation" in PAGE
