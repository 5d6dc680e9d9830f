"""Line charts as inline SVG: colours come from the page's style sheet, so that they follow light, dark and print."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 18, 36
SMALLEST = 1e-300
"""A range below it cannot be divided into ticks."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series. `low` and `high`, where given, are the edges of a band filled in the line's colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What a chart shows. `label` is read out in its place; `marks` are vertical lines: a place on x, and a word."""

    label: str
    lines: Sequence[Line]
    x_label: str
    per_cent: bool = False
    y_range: tuple[float, float] | None = None
    x_ticks: Sequence[float] | None = None
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Axis:
    """The straight line from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`, to a tenth."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """At most `count + 1` round values (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high > low:
        return [low]
    step = _round_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A number in as few characters as it takes: 20k, 0.25, 3.5e-4."""
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:.4g}"


def draw(chart: Chart) -> str:
    """The chart as an `<svg>` element; every text in it is escaped."""
    x = Axis(*_spread([value for line in chart.lines for value in line.x]), LEFT, WIDTH - RIGHT)
    heights = [value for line in chart.lines for value in (*line.y, *line.low, *line.high)]
    y = Axis(*(chart.y_range or _rounded(*_spread([0.0, *heights]))), HEIGHT - BOTTOM, TOP)
    parts = [*_grid(chart, x, y)]
    for number, line in enumerate(chart.lines):
        parts += _line(line, f"c{number % 3}", x, y)
    label = escape(chart.label)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _round_step(low: float, high: float, count: int) -> float:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """The range of `values`, never empty; one that is lost in the rounding of its ends, or next to 0, is none."""
    low, high = min(values), max(values)
    wide = high - low > max(1e-9 * max(abs(low), abs(high)), SMALLEST)
    return (low, high) if wide else (low, low + (abs(low) if abs(low) > SMALLEST else 1.0))


def _rounded(low: float, high: float) -> tuple[float, float]:
    """The range widened to the next tick on both sides, so that a line never leaves by the edge."""
    step = _round_step(low, high, 4)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _grid(chart: Chart, x: Axis, y: Axis) -> list[str]:
    parts = []
    for value in round_ticks(y.low, y.high, 4):
        text = f"{100 * value:.3g} %" if chart.per_cent else tick_text(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y(value)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{text}</text>')
    below = f'y="{HEIGHT - BOTTOM + 15}" text-anchor="middle"'
    parts += [f'<text x="{x(v)}" {below}>{tick_text(v)}</text>' for v in chart.x_ticks or round_ticks(x.low, x.high)]
    for value, text in chart.marks:
        parts.append(f'<path class="mark" d="M{x(value)} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x(value)}" y="{TOP - 6}" text-anchor="middle">{escape(text)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(chart.x_label)}</text>')
    return parts


def _line(line: Line, colour: str, x: Axis, y: Axis) -> list[str]:
    parts = []
    if line.low:
        edge = [*zip(line.x, line.high, strict=True)]
        back = [*zip(line.x, line.low, strict=True)][::-1]
        parts.append(f'<path class="band {colour}" d="{_path([*edge, *back], x, y)}Z"/>')
    points = [*zip(line.x, line.y, strict=True)]
    parts.append(f'<path class="line {colour}" d="{_path(points, x, y)}"/>')
    if line.dots or len(points) == 1:
        parts += [f'<circle class="dot {colour}" cx="{x(a)}" cy="{y(b)}" r="2.5"/>' for a, b in points]
    return parts


def _path(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x(a):g} {y(b):g}" for a, b in points)
