"""What the coverage-guided fuzzer found worth keeping: one input for each way there is."""

from __future__ import annotations

from pathlib import Path

from . import readers

CORPUS = Path(__file__).parents[1] / "data" / "fuzz-corpus"


def test_corpus() -> None:
    """Every input still keeps every reader to its word, and most readers accept some of them."""
    inputs = sorted(CORPUS.iterdir())
    assert inputs
    accepted: set[str] = set()
    for path in inputs:
        try:
            accepted |= readers.check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name} breaks a reader") from error
    assert accepted == readers.READERS.keys()
