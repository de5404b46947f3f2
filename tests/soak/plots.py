"""Line charts as SVG, drawn without a library, readable in light and dark mode and on a phone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH = 760
LEFT, RIGHT, TOP = 76, 28, 56
PLOT: Final = (WIDTH - LEFT - RIGHT, 260)
LEGEND, ROW = 4, 26
"""Columns of the legend, and the height of its rows."""

INTERVALS: Final = 5
"""At most so many on each axis, all of one round length."""

COLOURS: Final = (
    "#3b82f6", "#ef6c00", "#2e9e5b", "#d6336c", "#8b6fe8", "#b08900", "#0d9ba8", "#8a8f98",
)  # fmt: skip
STYLE: Final = """
text { font: 15px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328; }
.title { font-weight: bold; font-size: 17px; }
.page { fill: #ffffff; stroke: #d0d7de; }
.grid { stroke: #d8dee4; }
.line { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .page { fill: #0d1117; stroke: #30363d; }
  .grid { stroke: #30363d; }
}
"""


def chart(title: str, unit: str, series: Series) -> str:
    """A chart over minutes. The times of `series` are seconds, its values are in `unit`."""
    last = max((points[-1][0] for points in series.values() if points), default=0.0) or 60.0
    highest = max((value for points in series.values() for _, value in points), default=0.0)
    step = nice(highest / INTERVALS)
    top = step * max(1, math.ceil(highest / step))
    floor = TOP + PLOT[1]
    height = floor + 40 + ROW * -(-len(series) // LEGEND)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<desc>{escape(title)} over time, a line for each process.</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="{LEFT}" y="34">{escape(title)} ({escape(unit)})</text>',
    ]
    for value in _ticks(top, step):
        y = floor - PLOT[1] * value / top
        lines += [
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT[0]}" y1="{y:.1f}" y2="{y:.1f}"/>',
            _text(LEFT - 10, y + 5, _short(value), "end"),
        ]
    for minute in _ticks(last / 60, nice(last / 60 / INTERVALS)):
        x = LEFT + PLOT[0] * minute * 60 / last
        lines.append(_text(x, floor + 22, f"{minute:g} min", "middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(
            f"{LEFT + PLOT[0] * at / last:.1f},{floor - PLOT[1] * value / top:.1f}"
            for at, value in points
        )
        x = LEFT + PLOT[0] / LEGEND * (number % LEGEND)
        y = floor + 50 + ROW * (number // LEGEND)
        lines += [
            f'<polyline class="line" stroke="{colour}" points="{path}"/>',
            f'<rect x="{x:.1f}" y="{y - 8}" width="16" height="5" fill="{colour}"/>',
            _text(x + 24, y, name, "start"),
        ]
    return "\n".join([*lines, "</svg>", ""])


def nice(value: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... that is not below a value."""
    if value <= 0:
        return 1.0
    magnitude = 1e-6
    while True:
        for step in (1, 2, 5):
            if step * magnitude >= value * (1 - 1e-9):
                return step * magnitude
        magnitude *= 10


def _ticks(last: float, step: float) -> Iterator[float]:
    """The multiples of `step` from 0 to `last`."""
    for number in range(math.floor(last / step + 1e-9) + 1):
        yield number * step


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
