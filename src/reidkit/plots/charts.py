"""Line charts: the rows of a log, CMC curves and histograms of distances as plain data, and their drawing.

A `Chart` is data; `chart_figure` makes it a figure for a document, and `draw` an inline SVG for a page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidkit.plots.style import DPI, PAPER, RULE, SERIES, SOFT, inline_svg, one_line
from reidkit.types import LOG_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 18, 36
"""Pixels of a chart on a page, and those around its axes."""
DASHES = ("-", (0, (3, 1.5)), (0, (1, 1)))
"""How the lines of a chart are dashed, besides their colours."""
STEPS = [1, 2, 5, 10]
"""Values at the axes are these times a power of ten apart."""
POINTS = 200
"""A curve has at most this many points, so that the page of a long run stays small."""

Row = Mapping[str, Any]
Numbers = Sequence[float] | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series. `low` and `high`, where given, are the edges of a band filled in the line's colour.

    `colour` is the number of a series colour (None: by the line's place in the chart).
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dots: bool = False
    colour: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart as data. `label` is read aloud in its place; `marks` are vertical lines: a place on x, and a word."""

    label: str
    lines: Sequence[Line]
    x_label: str
    per_cent: bool = False
    y_range: tuple[float, float] | None = None
    x_ticks: Sequence[float] | None = None
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class ChartFigure:
    """A chart with its title and its caption."""

    title: str
    caption: str
    chart: Chart

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Names of the lines with the numbers of their colours, for a legend; none for a single line."""
        lines = self.chart.lines
        named = len(lines) > 1 or lines[0].colour is not None
        return [(line.name, _colour(line, i)) for i, line in enumerate(lines)] if named else []

    @property
    def svg(self) -> str:
        """The chart as an `<svg>` element."""
        return draw(self.chart)


@dataclass(frozen=True)
class Histogram:
    """Counts of distances between images with the same id and with different ids, in bins of equal width.

    `edges` has one value more than `same` and `different` have counts.
    """

    edges: Numbers
    same: Numbers
    different: Numbers


def draw(chart: Chart) -> str:
    """Draw a chart as an `<svg>` element for a page; every text in it is escaped."""
    figure = _figure(chart)
    figure.patch.set_visible(False)
    return inline_svg(figure, chart.label)


def _figure(chart: Chart) -> Figure:
    """Draw a chart as a figure of `WIDTH` x `HEIGHT` points, without a legend: the page has one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=DPI, facecolor=PAPER)
    size = (WIDTH - LEFT - RIGHT) / WIDTH, (HEIGHT - TOP - BOTTOM) / HEIGHT
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, *size), facecolor="none")
    for number_of_line, line in enumerate(chart.lines):
        _draw_line(axes, line, number_of_line)
    _set_limits(axes, chart)
    axes.grid(visible=True, axis="y", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(left=False, bottom=False, labelcolor=SOFT, labelsize=11, pad=6)
    middle = (LEFT + WIDTH - RIGHT) / 2 / WIDTH
    figure.text(middle, 5 / HEIGHT, one_line(chart.x_label), color=SOFT, fontsize=11, ha="center", parse_math=False)
    for place, word in chart.marks:
        axes.axvline(place, color=SOFT, linewidth=1, linestyle=(0, (2, 3)), alpha=0.7)
        above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
        axes.annotate(one_line(word), (place, 1), (0, 6), color=SOFT, fontsize=11, parse_math=False, **above)
    return figure


def _colour(line: Line, number_of_line: int) -> int:
    return (number_of_line if line.colour is None else line.colour) % len(SERIES)


def _draw_line(axes: Axes, line: Line, number_of_line: int) -> None:
    number_of_colour = _colour(line, number_of_line)
    look: dict[str, Any] = {"color": SERIES[number_of_colour], "clip_on": False}
    if line.low:
        band = [*zip(line.x, line.high, strict=True), *zip(line.x[::-1], line.low[::-1], strict=True)]
        axes.fill(*zip(*band, strict=True), alpha=0.2, linewidth=0, **look)
    axes.plot(line.x, line.y, linewidth=2, linestyle=DASHES[number_of_colour], label=one_line(line.name), **look)
    if line.dots or len(line.x) == 1:
        axes.plot(line.x, line.y, linestyle="none", marker="o", markersize=5, markeredgewidth=0, **look)


def _set_limits(axes: Axes, chart: Chart) -> None:
    """Let x run from its first to its last value, y between round values, so that no line leaves the axes."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    xs = [value for line in chart.lines for value in line.x]
    ys = [value for line in chart.lines for value in (*line.y, *line.low, *line.high)]
    left, right = _apart(min(xs), max(xs))
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(FixedLocator(chart.x_ticks) if chart.x_ticks else MaxNLocator(5, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    rounded = round_values(*_apart(min(0.0, *ys), max(0.0, *ys)), 5)
    low, high = chart.y_range or (rounded[0], rounded[-1])
    low, high = min(low, *ys), max(high, *ys)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.3g} %" if chart.per_cent else tick_text(value))
    )


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return the range, never empty: one that rounding loses is widened upwards."""
    wide = high - low > max(1e-9 * max(abs(low), abs(high)), 1e-300)
    return (low, high) if wide else (low, low + (abs(low) if abs(low) > 1e-300 else 1.0))


def round_values(low: float, high: float, count: int) -> list[float]:
    """At most `count` + 2 values 1, 2 or 5 times a power of ten apart; the first and last enclose [low, high]."""
    from matplotlib.ticker import MaxNLocator

    return [float(value) for value in MaxNLocator(count, steps=STEPS).tick_values(low, high)]


def tick_text(value: float) -> str:
    """Write a number in as few characters as it takes: 20k, 0.25, 3.5e-4."""
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:.4g}"


def as_number(value: object) -> float | None:
    """Return the value as a float that can be drawn, or None for text, NaN, and what no run means (1e30 and more)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    # Compared before it is made a float: an integer may be too long for one.
    return float(value) if -1e30 < value < 1e30 else None


def step_rows(log: Sequence[Row]) -> list[Row]:
    """Return the rows of kind `step` in order; where a resumed run repeats a step, its last row counts."""
    rows = {_when(row): row for row in log if row.get("kind") == "step"}
    return [rows[when] for when in sorted(rows)]


def epoch_rows(log: Sequence[Row]) -> list[Row]:
    """Return the rows of kind `epoch` in order, the last one of each epoch."""
    rows = {_when(row)[0]: row for row in log if row.get("kind") == "epoch"}
    return [rows[epoch] for epoch in sorted(rows)]


def curve_over_epochs(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    """Return the points (epoch, value) of a column, rising; the last row of each epoch counts."""
    pairs = [(as_number(row.get("epoch")), as_number(row.get(key))) for row in rows]
    return sorted({x: y for x, y in pairs if x is not None and y is not None}.items())


def training_figures(log: Sequence[Row]) -> list[ChartFigure]:
    """Plot the loss, each of its terms and the learning rate over the steps, with the epochs marked."""
    rows = step_rows(log)
    terms = dict.fromkeys(key for row in rows for key in row if key not in LOG_COLUMNS)
    titles = {"loss": "Loss, all terms", **{term: f"Loss term: {term}" for term in terms}, "lr": "Learning rate"}
    figures = (_over_steps(rows, key, title) for key, title in titles.items() if key != "loss" or len(terms) != 1)
    return [figure for figure in figures if figure]


def throughput_figure(log: Sequence[Row]) -> ChartFigure | None:
    """Plot the images per second over the steps."""
    rows = step_rows(log)
    values = [value for row in rows if (value := as_number(row.get("images_per_s"))) is not None]
    figure = _over_steps(rows, "images_per_s", "Images per second")
    return replace(figure, caption=f"{np.median(values):,.0f} in the median step") if figure else None


def validation_figure(log: Sequence[Row]) -> ChartFigure | None:
    """Plot rank-1 and mAP on the validation data after each epoch with scores (in rows of kind `epoch` or `scores`)."""
    evaluated = [row for row in log if row.get("kind") in ("epoch", "scores")]
    lines = []
    for key, name in (("rank1", "rank-1"), ("map", "mAP")):
        if points := curve_over_epochs(evaluated, key):
            lines.append(Line(name=name, x=[x for x, _ in points], y=[y for _, y in points], dots=True))
    if not lines:
        return None
    caption = "; ".join(
        f"{line.name} {100 * max(line.y):.1f} % at best, {100 * line.y[-1]:.1f} % at last" for line in lines
    )
    chart = Chart(label=f"Validation over epochs: {caption}", lines=lines, x_label="epoch", per_cent=True)
    return ChartFigure("Validation", caption, chart)


def cmc_figure(curves: Mapping[str, Numbers]) -> ChartFigure | None:
    """Plot the fraction of queries with a true match among the first k = 1 to 50; `curves` are CMC curves by name."""
    lines = []
    for name, curve in curves.items():
        points = [(k + 1, value) for k, value in enumerate(map(as_number, list(curve)[:50])) if value is not None]
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
    return ChartFigure("Queries with a true match among the first k", caption, chart)


def distance_figure(histogram: Histogram) -> ChartFigure | None:
    """Plot both histograms, normalised, and their overlap: the sum of the smaller of the two fractions of each bin."""
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
        Line(name=name, x=x, y=(y := np.repeat(fraction, 2).tolist()), low=[0.0] * len(x), high=y)
        for name, fraction in zip(names, (same, different, both), strict=True)
    ]
    pairs = [f"{int(each.sum()):,} pairs with" for each in counts]
    caption = f"overlap {100 * both.sum():.1f} % ({pairs[0]} the same id, {pairs[1]} different ids)"
    chart = Chart(label=f"Distances of pairs: {caption}", lines=lines, x_label="distance", per_cent=True)
    return ChartFigure("Distances of pairs, fraction in each bin", caption, chart)


def _when(row: Row) -> tuple[float, float]:
    return (as_number(row.get("epoch")) or 0.0, as_number(row.get("step")) or 0.0)


def _over_steps(rows: Sequence[Row], key: str, title: str) -> ChartFigure | None:
    """One column over the steps: the mean of each stretch of steps, and its smallest and largest value as a band."""
    given = [(x, value) for x, row in zip(_steps(rows), rows, strict=True) if (value := row.get(key)) is not None]
    points = [(x, y) for x, value in given if (y := as_number(value)) is not None]
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
    return ChartFigure(title, caption, Chart(label=label, lines=[line], x_label="step", marks=_epochs(rows)))


def _steps(rows: Sequence[Row]) -> list[float]:
    """Return where each row stands on x: its step, or its number where steps start anew in each epoch."""
    steps = [as_number(row.get("step")) for row in rows]
    known = [step for step in steps if step is not None]
    rising = len(known) == len(steps) and all(a < b for a, b in itertools.pairwise(known))
    return known if rising else [float(index + 1) for index in range(len(rows))]


def _epochs(rows: Sequence[Row]) -> list[tuple[float, str]]:
    """Return a few round epochs: where each begins, and its number."""
    starts: dict[float, float] = {}
    for x, row in zip(_steps(rows), rows, strict=True):
        if (epoch := as_number(row.get("epoch"))) is not None:
            starts.setdefault(epoch, x)
    if len(starts) < 2:
        return []
    chosen = [epoch for epoch in round_values(min(starts), max(starts), 5) if epoch in starts and epoch > min(starts)]
    return [(starts[epoch], f"epoch {epoch:g}" if epoch == chosen[0] else f"{epoch:g}") for epoch in chosen]
