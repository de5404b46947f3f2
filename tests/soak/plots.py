"""Line charts as SVG, drawn without a library and readable on light and dark ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH, HEIGHT = 900, 300
LEFT, TOP, BOTTOM, LEGEND = 70, 34, 30, 220
PLOT: Final = (WIDTH - LEFT - LEGEND, HEIGHT - TOP - BOTTOM)
COLOURS: Final = (
    "#3b82f6", "#ef6c00", "#2e9e5b", "#d6336c", "#8b6fe8", "#b08900", "#0d9ba8", "#8a8f98",
)  # fmt: skip
STYLE: Final = """\
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600; font-size: 14px }
.grid { stroke: #8884; stroke-width: 1 } .line { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #ccc } }"""


def chart(title: str, unit: str, series: Series) -> str:
    """A chart over minutes. The times of `series` are seconds, its values are in `unit`."""
    last = max((points[-1][0] for points in series.values() if points), default=0.0) or 1.0
    top = nice(max((value for points in series.values() for _, value in points), default=0.0))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<desc>{escape(title)} over time, a line for each process.</desc>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(title)} ({escape(unit)})</text>',
    ]
    for part in range(5):
        x, y = LEFT + PLOT[0] * part / 4, TOP + PLOT[1] * (1 - part / 4)
        lines += [
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT[0]}" y1="{y:.1f}" y2="{y:.1f}"/>',
            _text(LEFT - 8, y + 4, _short(top * part / 4), "end"),
            _text(x, HEIGHT - 8, f"{last * part / 240:.1f} min", "middle"),
        ]
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(
            f"{LEFT + PLOT[0] * at / last:.1f},{TOP + PLOT[1] * (1 - value / top):.1f}"
            for at, value in points
        )
        x, y = WIDTH - LEGEND + 14, TOP + 8 + 18 * number
        lines += [
            f'<polyline class="line" stroke="{colour}" points="{path}"/>',
            f'<rect x="{x}" y="{y - 8}" width="12" height="4" fill="{colour}"/>',
            _text(x + 18, y, name, "start"),
        ]
    return "\n".join([*lines, "</svg>", ""])


def nice(value: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... that is not below a value."""
    if value <= 0:
        return 1.0
    magnitude = 1e-6
    while True:
        for step in (1, 2, 5):
            if step * magnitude >= value:
                return step * magnitude
        magnitude *= 10


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
