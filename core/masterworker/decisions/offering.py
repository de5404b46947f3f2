"""A worker's announcement while some of its executors are unavailable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..words.limits import MAX_REASON, MAX_REASONS
from ..words.model import Worker


def without(worker: Worker, unable: Mapping[str, str]) -> Worker:
    """The announcement of `worker` while it cannot run the executors in `unable`.

    Each reason is one line, truncated so that all reasons together fit into a record's header.
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
    """The text on one line, truncated to at most this many bytes."""
    line = " ".join(text.split()).encode(errors="replace")
    return line.decode() if len(line) <= most else line[: most - 3].decode(errors="ignore") + "…"
