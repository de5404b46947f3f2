"""What a worker announces while it cannot run some of its executors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..words.limits import MAX_REASON, MAX_REASONS
from ..words.model import Worker


def without(worker: Worker, unable: Mapping[str, str]) -> Worker:
    """The announcement of `worker` when it cannot run the executors in `unable`.

    Each reason is one line, cut so that all of them together stay within a record's header.
    """
    if not unable:
        return worker
    most = min(MAX_REASON, MAX_REASONS // len(unable))
    return replace(
        worker,
        executors={name: one for name, one in worker.executors.items() if name not in unable},
        unavailable={name: _line(why, most) for name, why in sorted(unable.items())},
    )


def _line(text: str, most: int) -> str:
    """A text on one line, of at most this many bytes."""
    line = " ".join(text.split()).encode(errors="replace")
    return line.decode() if len(line) <= most else line[: most - 3].decode(errors="ignore") + "…"
