"""A picture of a run as plain SVG: who was in office, who lived, what struck whom, what got done.

Rows from the top: the area of statuses recorded per second; a row for each master with its terms, a
row for each worker with its incarnations, a row for each other victim. A mark is a fault, in the
row of its victim and the shape of its kind's family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from tests.chaos.journals import Fault
from tests.chaos.verdict import Verdict

WIDTH: Final = 1200
LEFT: Final = 110
RIGHT: Final = 20
AREA: Final = 110
ROW: Final = 22
TOP: Final = 40
TICKS: Final = 10

STYLE: Final = """
svg { background: #ffffff; }
text { font: 12px sans-serif; fill: #222222; }
.title { font-size: 14px; font-weight: bold; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #dddddd; }
.area { fill: #9ecae1; }
.term { fill: #2b6cb0; }
.life { fill: #a9bca9; }
.next { fill: #86a386; }
.mark { stroke: #ffffff; stroke-width: 0.7; }
.lasting { opacity: 0.4; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181c; }
  text { fill: #dddddd; }
  .grid { stroke: #33373d; }
  .area { fill: #2f5d7c; }
  .term { fill: #63a4e8; }
  .life { fill: #4d664d; }
  .next { fill: #67856a; }
  .mark { stroke: #16181c; }
}
"""

FAMILIES: Final = {
    "kill": ("kill", "#d62728"),
    "failpoint": ("failpoint", "#e377c2"),
    "stop": ("stop", "#ff7f0e"),
    "expire": ("expire", "#9467bd"),
    "drop-request": ("drop", "#17becf"),
    "drop-reply": ("drop", "#17becf"),
    "reset": ("reset", "#8c564b"),
    "hole-in": ("hole", "#bcbd22"),
    "hole-out": ("hole", "#bcbd22"),
    "hole-both": ("hole", "#bcbd22"),
    "delay": ("delay", "#7f7f7f"),
}
"""The family of a kind of fault, and its colour; whatever strikes a whole group is one family."""

ROLES: Final = ("master", "worker", "client", "zookeeper")

GROUP: Final = ("group", "#d6a100")


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
            | {fault.target for fault in verdict.faults}
        )
        self._floor = TOP + AREA
        self._height = self._floor + ROW * len(self._rows) + 70

    def lines(self) -> Iterator[str]:
        """The document, line by line."""
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height}" '
            f'width="{WIDTH}" height="{self._height}" role="img">'
        )
        settings = self._verdict.settings
        yield (
            "<desc>Tasks finished per second, who was in office when, the lives of the workers, "
            "and each fault in the row of whom it struck.</desc>"
        )
        yield f"<style>{STYLE}</style>"
        title = f"Fault campaign, seed {settings.seed}: {'ok' if self._verdict.ok else 'broken'}"
        yield f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>'
        yield from self._axis()
        yield from self._area()
        yield from self._lives()
        yield from self._marks()
        yield from self._legend()
        yield "</svg>"

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
        yield f'<text class="end" x="{LEFT - 8}" y="{TOP + 10}">{most}/s</text>'
        yield f'<text class="end" x="{LEFT - 8}" y="{self._floor}">finished</text>'
        points = [f"{LEFT},{self._floor}"]
        for second in range(int(self._ended - self._began) + 1):
            y = self._floor - AREA * rate[second] / max(most, 1)
            points.append(f"{self._x(self._began + second + 0.5)},{y:.1f}")
        points.append(f"{WIDTH - RIGHT},{self._floor}")
        yield f'<polygon class="area" points="{" ".join(points)}"/>'

    def _axis(self) -> Iterator[str]:
        """A line every so many seconds, and names of the rows."""
        bottom = self._floor + 8 + ROW * len(self._rows)
        step = _step(self._ended - self._began)
        for number in range(int((self._ended - self._began) / step) + 1):
            x = self._x(self._began + number * step)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>'
            label = f"{number * step:g} s"
            yield f'<text class="middle" x="{x}" y="{bottom + 16}">{label}</text>'
        for row in self._rows:
            yield f'<text class="end" x="{LEFT - 8}" y="{self._y(row) + 12}">{escape(row)}</text>'

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
            f'<rect class="{style}" x="{x}" y="{self._y(row) + 4}" width="{width:.1f}" '
            f'height="{ROW - 10}"><title>{escape(tip)}</title></rect>'
        )

    def _marks(self) -> Iterator[str]:
        """How long each fault lasted, faintly, and a dot where it began."""
        for fault in self._verdict.faults:
            x, y = self._x(fault.began), self._y(fault.target) + ROW // 2 - 1
            width = max(1.0, self._x(fault.ended) - x)
            colour = _family(fault)[1]
            tip = f"fault {fault.number}: {fault.kind}, {fault.ended - fault.began:.1f} s"
            yield (
                f'<rect class="lasting" fill="{colour}" x="{x}" y="{y - 8}" width="{width:.1f}" '
                'height="16"/>'
            )
            yield (
                f'<circle class="mark" fill="{colour}" cx="{x}" '
                f'cy="{y}" r="4.5"><title>{escape(tip)}</title></circle>'
            )

    def _legend(self) -> Iterator[str]:
        y = self._height - 16
        x = LEFT
        for style, name in (("area", "finished"), ("term", "in office"), ("life", "worker")):
            yield f'<rect class="{style}" x="{x}" y="{y - 10}" width="12" height="12"/>'
            yield f'<text x="{x + 18}" y="{y}">{name}</text>'
            x += 90
        for name, colour in sorted({_family(fault) for fault in self._verdict.faults}):
            yield f'<circle fill="{colour}" cx="{x + 6}" cy="{y - 4}" r="4.5"/>'
            yield f'<text x="{x + 16}" y="{y}">{name}</text>'
            x += 80


def _rows(names: Iterable[str]) -> list[str]:
    """The rows in their order: by role, and by name within it."""
    order = {role: place for place, role in enumerate(ROLES)}
    return sorted(names, key=lambda name: (order.get(name.partition("-")[0], len(ROLES)), name))


def _family(fault: Fault) -> tuple[str, str]:
    return FAMILIES.get(fault.kind, GROUP)


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
