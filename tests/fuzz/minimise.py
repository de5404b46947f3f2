"""Keep of a fuzzer's corpus what the readers tell apart: `python -m tests.fuzz.minimise FROM TO`.

The smallest inputs come first, and an input is kept if it takes a step from one line to another
that none before it has taken, or if a reader accepts it that accepted none before. (libFuzzer's own
`-merge=1` keeps nothing under atheris.)
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from . import readers

Step = tuple[str, int, int]
OURS = ("masterworker", "masterworker_executors")


def steps(data: bytes) -> set[Step]:
    """Every step from line to line that our code takes with this input, and who accepts it."""
    taken: set[Step] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in OURS:
            return None
        before = last.get(id(frame), 0) if event != "call" else 0
        taken.add((f"{name}.{frame.f_code.co_name}", before, frame.f_lineno))
        last[id(frame)] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        accepted = readers.check(data)
    finally:
        sys.settrace(None)
    return taken | {(reader, 0, 0) for reader in accepted}


def minimal(inputs: list[bytes]) -> Iterator[bytes]:
    """Those inputs that add a step, from the smallest on."""
    seen: set[Step] = set()
    for data in sorted(inputs, key=lambda one: (len(one), one)):
        taken = steps(data)
        if not taken <= seen:
            seen |= taken
            yield data


def main(source: Path, target: Path) -> None:
    """Replace the files in `target` by the minimal ones of both folders."""
    inputs = [path.read_bytes() for folder in (source, target) for path in folder.glob("*")]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for number, data in enumerate(minimal(inputs)):
        (target / f"{number:03}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
