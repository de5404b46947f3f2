"""A picture of a campaign as plain SVG: terms, incarnations, faults, and the work done meanwhile.

From the top: an area of the tasks finished per second; a row for each master with its terms, a row
for each worker with its incarnations, a row for each other victim, and one for faults that strike a
whole group. A mark is a fault. Its shape and colour tell the family of its kind. The picture is
drawn for the width of a page, in few colours, with text that can be read on a phone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from tests.chaos.journals import Fault
from tests.chaos.verdict import Verdict

WIDTH: Final = 760
LEFT: Final = 116
RIGHT: Final = 24
AREA: Final = 120
ROW: Final = 27
TOP: Final = 56
TICKS: Final = 7
LEGEND: Final = 3
"""Columns of the legend."""

STYLE: Final = """
text { font: 16px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-size: 18px; font-weight: bold; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.page { fill: #ffffff; stroke: #d0d7de; }
.grid { stroke: #d8dee4; }
.area { fill: #9ecae1; }
.term { fill: #57606a; }
.life { fill: #c9d1d9; }
.next { fill: #aab4be; }
.mark { stroke: #ffffff; stroke-width: 1; }
.lasting { opacity: 0.3; }
.killed { fill: #d1242f; }
.paused { fill: #e8890c; }
.expired { fill: #8250df; }
.network { fill: #0969da; }
.group { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .page { fill: #0d1117; stroke: #30363d; }
  .grid { stroke: #30363d; }
  .area { fill: #24506e; }
  .term { fill: #9da7b3; }
  .life { fill: #333c47; }
  .next { fill: #4a5563; }
  .mark { stroke: #0d1117; }
  .killed { fill: #ff7b72; }
  .paused { fill: #f0a742; }
  .expired { fill: #bc8cff; }
  .network { fill: #58a6ff; }
  .group { fill: #56d364; }
}
"""

FAMILIES: Final = {
    "kill": "killed",
    "failpoint": "killed",
    "stop": "paused",
    "expire": "expired",
    "drop-request": "network",
    "drop-reply": "network",
    "reset": "network",
    "hole-in": "network",
    "hole-out": "network",
    "hole-both": "network",
    "delay": "network",
}
"""The family of each kind of fault that strikes one process; all others strike a whole group."""

GROUP: Final = "group"

NAMES: Final = {
    "killed": "process killed",
    "paused": "process paused",
    "expired": "session expired",
    "network": "network fault",
    GROUP: "group restarted",
}
"""The families, as the legend calls them."""

SHAPES: Final = {
    "killed": "M-6-3 L-3-6 L0-3 L3-6 L6-3 L3 0 L6 3 L3 6 L0 3 L-3 6 L-6 3 L-3 0z",
    "paused": "M-5-5 H5 V5 H-5z",
    "expired": "M0-7 L6.5 5 H-6.5z",
    "network": "M-5 0 A5 5 0 1 1 5 0 A5 5 0 1 1 -5 0z",
    GROUP: "M0-7.5 L7.5 0 L0 7.5 L-7.5 0z",
}
"""The mark of each family, around its centre: cross, square, triangle, circle, diamond."""

ROLES: Final = ("master", "worker", "client", "zookeeper")

GROUPS: Final = "groups"
"""The row of faults that strike all masters, all workers or the whole ensemble."""


def draw(verdict: Verdict) -> str:
    """The picture as an SVG document."""
    return "\n".join(_Picture(verdict).lines()) + "\n"


class _Picture:
    """The geometry of one picture, and its parts."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._began, self._ended = _span(verdict)
        self._rows = _rows(
            {self._master(term.pid) for term in verdict.terms}
            | {one.process for one in verdict.incarnations}
            | {_row(fault) for fault in verdict.faults}
        )
        self._floor = TOP + AREA
        self._bottom = self._floor + 8 + ROW * len(self._rows)
        entries = len(NAMES) + LEGEND  # its first row explains the bars
        self._height = self._bottom + 52 + ROW * -(-entries // LEGEND)

    def lines(self) -> Iterator[str]:
        """The document, line by line."""
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height}" '
            f'width="{WIDTH}" role="img">'
        )
        settings = self._verdict.settings
        yield (
            "<desc>Tasks finished per second, the terms of the masters, the incarnations of the "
            "workers, and each fault in the row of its victim.</desc>"
        )
        yield f"<style>{STYLE}</style>"
        yield (
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{self._height - 1}" '
            'rx="8"/>'
        )
        yield f'<text class="title" x="{LEFT}" y="34">{escape(self._title(settings.seed))}</text>'
        yield from self._axis()
        yield from self._area()
        yield from self._lives()
        yield from self._marks()
        yield from self._legend()
        yield "</svg>"

    def _title(self, seed: int) -> str:
        faults = len(self._verdict.faults)
        outcome = "every promise kept" if self._verdict.ok else "PROMISES BROKEN"
        return f"Fault campaign, seed {seed}: {faults} faults, {outcome}"

    # --- places ------------------------------------------------------------------------------

    def _x(self, at: float) -> float:
        share = (at - self._began) / (self._ended - self._began)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, row: str) -> int:
        return self._floor + 8 + ROW * self._rows.index(row)

    def _master(self, pid: int) -> str:
        return self._verdict.processes.get(pid, f"pid {pid}")

    # --- parts -------------------------------------------------------------------------------

    def _area(self) -> Iterator[str]:
        """Statuses recorded in each second."""
        rate = Counter(int(at - self._began) for at in self._verdict.finished)
        most = max(rate.values(), default=0)
        yield f'<text class="end" x="{LEFT - 8}" y="{TOP + 12}">{most:,} tasks/s</text>'
        yield f'<text class="end" x="{LEFT - 8}" y="{self._floor}">0</text>'
        points = [f"{LEFT},{self._floor}"]
        for second in range(int(self._ended - self._began) + 1):
            y = self._floor - AREA * rate[second] / max(most, 1)
            points.append(f"{self._x(self._began + second + 0.5)},{y:.1f}")
        points.append(f"{WIDTH - RIGHT},{self._floor}")
        yield f'<polygon class="area" points="{" ".join(points)}"/>'

    def _axis(self) -> Iterator[str]:
        """A line every so many seconds or minutes, and names of the rows."""
        step = _step(self._ended - self._began)
        for number in range(int((self._ended - self._began) / step) + 1):
            x = self._x(self._began + number * step)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{self._bottom}"/>'
            label = f"{number * step:g} s" if step < 60 else f"{number * step / 60:g} min"
            yield f'<text class="middle" x="{x}" y="{self._bottom + 20}">{label}</text>'
        for row in self._rows:
            yield f'<text class="end" x="{LEFT - 8}" y="{self._y(row) + 18}">{escape(row)}</text>'

    def _lives(self) -> Iterator[str]:
        for term in self._verdict.terms:
            tip = f"epoch {term.epoch}: {term.master}"
            yield self._bar("term", self._master(term.pid), term.began, term.ended, tip)
        count: Counter[str] = Counter()
        for life in self._verdict.incarnations:
            style = "next" if count[life.process] % 2 else "life"
            count[life.process] += 1
            yield self._bar(style, life.process, life.began, life.ended, life.worker)

    def _bar(self, style: str, row: str, began: float, ended: float | None, tip: str) -> str:
        x = self._x(began)
        width = max(1.0, self._x(self._ended if ended is None else ended) - x)
        return (
            f'<rect class="{style}" x="{x}" y="{self._y(row) + 6}" width="{width:.1f}" '
            f'height="{ROW - 12}"><title>{escape(tip)}</title></rect>'
        )

    def _marks(self) -> Iterator[str]:
        """How long each fault lasted, faintly, and a mark where it began."""
        for fault in self._verdict.faults:
            x, y = self._x(fault.began), self._y(_row(fault)) + ROW / 2
            width = max(1.0, self._x(fault.ended) - x)
            family = _family(fault)
            tip = f"fault {fault.number}: {fault.kind}, {fault.ended - fault.began:.1f} s"
            yield (
                f'<rect class="lasting {family}" x="{x}" y="{y - 9:g}" width="{width:.1f}" '
                'height="18"/>'
            )
            yield (
                f'<path class="mark {family}" transform="translate({x} {y:g})" '
                f'd="{SHAPES[family]}"><title>{escape(tip)}</title></path>'
            )

    def _legend(self) -> Iterator[str]:
        bars = (("area", "tasks finished"), ("term", "primary"), ("life", "worker"))
        width = (WIDTH - LEFT - RIGHT) / LEGEND
        for number, (style, name) in enumerate([*bars, *NAMES.items()]):
            x = LEFT + 8 + number % LEGEND * width
            y = self._bottom + 50 + ROW * (number // LEGEND)
            if style in SHAPES:
                shape = f'transform="translate({x:g} {y - 6:g})" d="{SHAPES[style]}"'
                yield f'<path class="{style}" {shape}/>'
            else:
                box = f'x="{x - 7:g}" y="{y - 13:g}" width="14" height="14"'
                yield f'<rect class="{style}" {box}/>'
            yield f'<text x="{x + 14:g}" y="{y:g}">{name}</text>'


def _rows(names: Iterable[str]) -> list[str]:
    """The rows in their order: by role, and by name within it."""
    order = {role: place for place, role in enumerate([*ROLES, GROUPS])}
    return sorted(names, key=lambda name: (order.get(name.partition("-")[0], len(order)), name))


def _family(fault: Fault) -> str:
    return FAMILIES.get(fault.kind, GROUP)


def _row(fault: Fault) -> str:
    """The row of a fault: its victim's, or the one that all groups share."""
    return fault.target if fault.target.partition("-")[0] in ROLES else GROUPS


def _span(verdict: Verdict) -> tuple[float, float]:
    """The time that is shown: the run, or whatever there is."""
    settings = verdict.settings
    times = [*verdict.finished, *(term.began for term in verdict.terms)]
    began = settings.began or min(times, default=0.0)
    ended = settings.settled or max(times, default=began)
    return began, max(ended, began + 1.0)


def _step(seconds: float) -> float:
    """A round number of seconds of which about TICKS fit in."""
    steps: Sequence[float] = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
    return next((step for step in steps if seconds / step <= TICKS), 1800)
