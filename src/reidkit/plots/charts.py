"""The figures of a report, made from the rows of a log, a CMC curve and histograms of distances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Line charts as inline SVG: colours come from the page's style sheet, so that they follow light, dark and print.

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


POINTS = 200
"""A curve has at most this many points, so that the page of a long run stays small."""

NOT_A_TERM = {"kind", "epoch", "step", "batch", "lr", "loss", "images", "images_per_s", "seconds"}
NOT_A_TERM |= {"memory_mb", "wait_share"}
"""The columns of a step that are no loss term; every other one is, under whatever name its loss has."""

Row = Mapping[str, Any]
Numbers = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Histogram:
    """Counts of distances between images with the same id and with different ids, in bins of equal width.

    `edges` has one value more than `same` and `different` have counts.
    """

    edges: Numbers
    same: Numbers
    different: Numbers


@dataclass(frozen=True)
class Figure:
    """A chart with its words; `keys` names the lines where there is more than one."""

    title: str
    caption: str
    svg: str
    keys: tuple[str, ...] = ()


def number(value: object) -> float | None:
    """The value as a float that can be drawn, or None for text, NaN, and what no run means (1e30 and beyond)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    # Compared before it is made a float: an integer may be too long for one.
    return float(value) if -1e30 < value < 1e30 else None


def step_rows(log: Sequence[Row]) -> list[Row]:
    """The rows of kind `step` in order; where a resumed run repeats a step, its last row counts."""
    rows = {_when(row): row for row in log if row.get("kind") == "step"}
    return [rows[when] for when in sorted(rows)]


def epoch_rows(log: Sequence[Row]) -> list[Row]:
    """The rows of kind `epoch` in order, the last one of each epoch."""
    rows = {_when(row)[0]: row for row in log if row.get("kind") == "epoch"}
    return [rows[epoch] for epoch in sorted(rows)]


def training_figures(log: Sequence[Row]) -> list[Figure]:
    """The loss, each of its terms and the learning rate over the steps, with the epochs marked."""
    rows = step_rows(log)
    terms = dict.fromkeys(key for row in rows for key in row if key not in NOT_A_TERM)
    titles = {"loss": "Loss, all terms", **{term: f"Loss term: {term}" for term in terms}, "lr": "Learning rate"}
    figures = (_over_steps(rows, key, title) for key, title in titles.items() if key != "loss" or len(terms) != 1)
    return [figure for figure in figures if figure]


def throughput_figure(log: Sequence[Row]) -> Figure | None:
    """Images per second over the steps."""
    rows = step_rows(log)
    values = [value for row in rows if (value := number(row.get("images_per_s"))) is not None]
    figure = _over_steps(rows, "images_per_s", "Images per second")
    return replace(figure, caption=f"{np.median(values):,.0f} in the median step") if figure else None


def validation_figure(log: Sequence[Row]) -> Figure | None:
    """Rank-1 and mAP on the validation data after each epoch with scores (in rows of kind `epoch` or `scores`)."""
    evaluated = {
        _when(row)[0]: row for row in log if row.get("kind") in ("epoch", "scores") and ("map" in row or "rank1" in row)
    }
    lines = []
    for key, name in (("rank1", "rank-1"), ("map", "mAP")):
        pairs = [
            (number(row.get("epoch")), number(row.get(key)))
            for _, row in sorted(evaluated.items(), key=lambda item: item[0])
        ]
        points = [(x, y) for x, y in pairs if x is not None and y is not None]
        if points:
            lines.append(Line(name=name, x=[x for x, _ in points], y=[y for _, y in points], dots=True))
    if not lines:
        return None
    caption = "; ".join(
        f"{line.name} {100 * max(line.y):.1f} % at best, {100 * line.y[-1]:.1f} % at last" for line in lines
    )
    chart = Chart(label=f"Validation over epochs: {caption}", lines=lines, x_label="epoch", per_cent=True)
    return Figure("Validation", caption, draw(chart), tuple(line.name for line in lines))


def cmc_figure(curves: Mapping[str, Numbers]) -> Figure | None:
    """The share of queries with a true match among the first k, for k = 1 to 50; `curves` maps a name to its CMC."""
    lines = []
    for name, curve in curves.items():
        points = [(k + 1, value) for k, value in enumerate(map(number, list(curve)[:50])) if value is not None]
        if points:
            lines.append(Line(name=name, x=[k for k, _ in points], y=[y for _, y in points], dots=len(points) <= 20))
    if not lines:
        return None
    last = max(line.x[-1] for line in lines)
    floor = math.floor(10 * min(min(line.y) for line in lines)) / 10
    caption = "; ".join(
        f"{line.name}: {100 * line.y[0]:.1f} % at k = 1, {100 * line.y[-1]:.1f} % at k = {line.x[-1]}" for line in lines
    )
    chart = Chart(
        label=f"CMC curve. {caption}",
        lines=lines,
        x_label="first k images",
        per_cent=True,
        y_range=(min(floor, 0.9), 1.0),
        x_ticks=[k for k in (1, 5, 10, 20, 30, 40, 50) if k <= last],
    )
    return Figure("Queries with a true match among the first k", caption, draw(chart), tuple(curves))


def distance_figure(histogram: Histogram) -> Figure | None:
    """Both histograms, each as shares of its own pairs, and their overlap: the sum over bins of the smaller share."""
    edges = np.asarray(histogram.edges, dtype=np.float64)
    counts = [np.asarray(each, dtype=np.float64) for each in (histogram.same, histogram.different)]
    if any(each.ndim != 1 or len(each) + 1 != len(edges) for each in counts) or not np.isfinite(edges).all():
        return None
    if any(not np.isfinite(each).all() or (each < 0).any() or each.sum() == 0 for each in counts):
        return None
    same, different = (each / each.sum() for each in counts)
    both = np.minimum(same, different)
    x = np.repeat(edges, 2)[1:-1].tolist()
    names = ("same id", "different ids", "overlap")
    lines = [
        Line(name=name, x=x, y=(y := np.repeat(share, 2).tolist()), low=[0.0] * len(x), high=y)
        for name, share in zip(names, (same, different, both), strict=True)
    ]
    pairs = [f"{int(each.sum()):,} pairs with" for each in counts]
    caption = f"overlap {100 * both.sum():.1f} % ({pairs[0]} the same id, {pairs[1]} different ids)"
    chart = Chart(label=f"Distances of pairs: {caption}", lines=lines, x_label="distance", per_cent=True)
    return Figure("Distances of pairs, share in each bin", caption, draw(chart), names)


def _when(row: Row) -> tuple[float, float]:
    return (number(row.get("epoch")) or 0.0, number(row.get("step")) or 0.0)


def _over_steps(rows: Sequence[Row], key: str, title: str) -> Figure | None:
    """One column over the steps: the mean of each stretch of steps, and its smallest and largest value as a band."""
    given = [(x, value) for x, row in zip(_places(rows), rows, strict=True) if (value := row.get(key)) is not None]
    points = [(x, y) for x, value in given if (y := number(value)) is not None]
    if not points:
        return None
    groups = np.array_split(np.asarray(points), min(POINTS, len(points)))
    banded = len(points) > POINTS
    line = Line(
        name=key,
        x=[float(group[:, 0].mean()) for group in groups],
        y=[float(group[:, 1].mean()) for group in groups],
        low=[float(group[:, 1].min()) for group in groups] if banded else (),
        high=[float(group[:, 1].max()) for group in groups] if banded else (),
    )
    caption = f"{tick_text(line.y[0])} at first, {tick_text(line.y[-1])} at last"
    if lost := len(given) - len(points):
        caption += f"; {lost} values are not finite and left out"
    label = f"{title} over {len(points)} steps: {caption}"
    return Figure(title, caption, draw(Chart(label=label, lines=[line], x_label="step", marks=_epochs(rows))))


def _places(rows: Sequence[Row]) -> list[float]:
    """Where each row stands on x: its step, or its number where steps start anew in each epoch."""
    steps = [number(row.get("step")) for row in rows]
    known = [step for step in steps if step is not None]
    rising = len(known) == len(steps) and all(a < b for a, b in itertools.pairwise(known))
    return known if rising else [float(index + 1) for index in range(len(rows))]


def _epochs(rows: Sequence[Row]) -> list[tuple[float, str]]:
    """A few round epochs: where each begins, and its number."""
    starts: dict[float, float] = {}
    for x, row in zip(_places(rows), rows, strict=True):
        if (epoch := number(row.get("epoch"))) is not None:
            starts.setdefault(epoch, x)
    if len(starts) < 2:
        return []
    chosen = [epoch for epoch in round_ticks(min(starts), max(starts), 5) if epoch in starts and epoch > min(starts)]
    return [(starts[epoch], f"epoch {epoch:g}" if epoch == chosen[0] else f"{epoch:g}") for epoch in chosen]
