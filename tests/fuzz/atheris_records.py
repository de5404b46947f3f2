"""The readers under a coverage-guided fuzzer: `python tests/fuzz/atheris_records.py CORPUS...`.

Atheris is no dependency of ours: see CONTRIBUTING.md for how to run this. Any libFuzzer option
works, `-max_total_time=1800` among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["masterworker", "masterworker_executors", "tests.fuzz"]):
    from tests.fuzz.readers import check


def main() -> None:
    """Run until libFuzzer is told to stop, or a property does not hold."""
    atheris.Setup(sys.argv, lambda data: check(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
