"""Figure 1: what was published at the time as points of rank-1 and mAP, and the strong baseline above them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reidkit.errors import DataError, UsageError
from reidkit.plots.style import GROUPS, INK, SMALL, SOFT, WARM, new_figure, one_line, style_axes, text_background
from reidkit.recipes.luo2019.ladder import TABLE1
from reidkit.recipes.luo2019.tables import OTHERS
from reidkit.train import log as train_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Where the names of points go, so that they cover neither points nor each other. Units are printer's points.

Rectangle = tuple[float, float, float, float]
LabelPosition = tuple[tuple[float, float], str]
"""How far from its point a name stands, and which of its sides is there."""

MOST = 28
"""Letters of a name that are drawn."""

RADIUS, APART = 5.0, 6.0
"""Of a point's mark; and the least space between two names on a line."""


class Name(NamedTuple):
    """A name to be placed: where its point is, the name's width and height, and how near it may come."""

    point: tuple[float, float]
    size: tuple[float, float]
    near: float


def width(name: str, size: float, *, bold: bool) -> float:
    """Return about how wide a name is, in letters of this size."""
    return (0.68 if bold else 0.6) * size * len(one_line(name, MOST))


def scale_to(values: Sequence[float], length: float) -> list[float]:
    """Return the values on a scale from 0 to `length`."""
    low, high = min(values), max(values)
    return [length * (value - low) / (high - low or 1.0) for value in values]


def place_names(
    names: Sequence[Name], order: Sequence[int], free: Sequence[Rectangle], panel: tuple[float, float]
) -> list[LabelPosition]:
    """Return for each name, in `order`, the first position with the least overlap; `free` is kept free.

    A name that would leave the panel by its side loses more than one that covers another.
    """
    taken = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for (x, y), _, _ in names] + [*free]
    placed: dict[int, LabelPosition] = {}
    for number in order:
        (x, y), size, near = names[number]
        positions = _positions(near)
        boxes = [_box(x + dx, y + dy, size, side) for (dx, dy), side in positions]
        clashes = [sum(overlap_area(box, other) for other in taken) + _outside(box, panel[0]) for box in boxes]
        best = min(range(len(boxes)), key=lambda i: (round(clashes[i]), i))
        left, low, right, high = boxes[best]
        taken.append((left - APART, low, right + APART, high))
        placed[number] = positions[best]
    return [placed[number] for number in range(len(names))]


def overlap_area(a: Rectangle, b: Rectangle) -> float:
    """Return the area that two rectangles (left, low, right, high) have in common."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _positions(near: float) -> list[LabelPosition]:
    return [
        ((dx, dy), side)
        for far in (1, 1.7, 2.6)
        for dx, dy, side in (
            (near * far, 0.0, "left"),
            (-near * far, 0.0, "right"),
            (near, 10 * far, "left"),
            (near, -10 * far, "left"),
            (-near, 10 * far, "right"),
            (-near, -10 * far, "right"),
            (0.0, 13 * far, "center"),
            (0.0, -13 * far, "center"),
        )
    ]


def _box(x: float, y: float, size: tuple[float, float], side: str) -> Rectangle:
    left = {"left": x, "right": x - size[0], "center": x - size[0] / 2}[side]
    return left, y - size[1] / 2, left + size[0], y + size[1] / 2


def _outside(box: Rectangle, wide: float) -> float:
    """Return what it costs to stand outside a panel of this width, which has a margin of 7 % on both sides."""
    return 30 * (max(0.0, box[2] - 1.07 * wide) + max(0.0, -0.07 * wide - box[0]))


SETS = {"market1501": "Market-1501", "dukemtmc": "DukeMTMC-reID"}
LIMITS = {"market1501": (0.9, None), "dukemtmc": (0.8, 0.65)}
"""Section 1 of the paper: two of 23 baselines beat this rank-1 on Market-1501, none these scores on DukeMTMC-reID."""

KINDS = ("global", "stripes", "attention", "masks", "pose", "GAN")
MARKS = ("o", "s", "D", "^", "v", "P")
PANEL = (360.0, 305.0)
"""About the width and the height, in printer's points, on which the points of a panel are spread."""
SIZES = {False: 10.0, True: 12.0}
"""Letters of a name; bold ones are those of the baselines and of measured points."""
GAIN = (14.0, 9.0, 150.0, 30.0)
"""Where the words of the arrow stand, right of and below the standard baseline: near corner, width and height."""

_NUMBER = r"\d{1,3}(?:\.\d+)?"
_GIVEN = re.compile(rf"(?:(\w+):)?(.+?)=({_NUMBER}),({_NUMBER})")


@dataclass(frozen=True)
class Point:
    """A published or measured pair of scores, as fractions, and where it is printed."""

    name: str
    kind: str
    dataset: str
    rank1: float
    map: float
    source: str


def published() -> tuple[Point, ...]:
    """Return the other methods of Table 4, and the two baselines of Table 1, as printed."""
    points = []
    for _, title, scores in OTHERS:
        name, kind, _ = title.split(", ")
        points += [Point(name, kind, dataset, *pair, "Table 4") for dataset, pair in scores.items()]
    for row, name, kind in ((TABLE1[0], "standard baseline", "standard"), (TABLE1[-1], "strong baseline", "ours")):
        points += [Point(name, kind, dataset, *pair, "Table 1") for dataset, pair in row.published.items()]
    return tuple(points)


def measured(text: str) -> Point:
    """Return a point of one's own: `[DATASET:]NAME=RANK1,MAP` in per cent, or `[DATASET:]RUN`, the folder of a run.

    Raises:
        UsageError: it is neither, or no percentage.
        DataError: the run has no scores.
    """
    if given := _GIVEN.fullmatch(text):
        dataset, name, rank1, mean = given.groups()
        if max(float(rank1), float(mean)) > 100:
            raise UsageError(
                f"measured {one_line(text)}: rank-1 and mAP are per cent, at most 100", argument="measured"
            )
        return Point(name, "measured", _dataset(dataset, text), float(rank1) / 100, float(mean) / 100, "measured")
    prefix, colon, rest = text.partition(":")
    dataset, folder = (prefix, rest) if colon and prefix in SETS else (None, text)
    log = Path(folder) / "log.jsonl"
    if not log.is_file():
        raise UsageError(
            f"measured {one_line(text)}: write it as NAME=RANK1,MAP, or name the folder of a run", argument="measured"
        )
    rows = [row for row in train_log.read(log) if row.get("kind") == "scores" and "map" in row]
    if not rows:
        raise DataError(f"{folder} has no scores in its log: `reidkit evaluate` gives them, for NAME=RANK1,MAP")
    name = Path(folder).resolve().name
    return Point(name, "measured", _dataset(dataset, text), rows[-1]["rank1"], rows[-1]["map"], "measured")


def figure(own: Sequence[Point] = ()) -> Figure:
    """One panel for each data set; every point has its name."""
    points = (*published(), *own)
    made = new_figure(13.2, 6.4)
    grid = made.subplots(1, len(SETS))
    for axes, (dataset, title) in zip(grid, SETS.items(), strict=True):
        chosen = [point for point in points if point.dataset == dataset]
        _panel(axes, chosen, dataset)
        words = {"x": "mAP, per cent", "y": "rank-1, per cent" if axes is grid[0] else ""}
        style_axes(axes, title=title, finding=finding(chosen), **words)
    looks: dict[str, Any] = {"title_fontsize": SMALL, "fontsize": SMALL, "handletextpad": 0.2, "labelspacing": 0.35}
    legend = grid[0].legend(frameon=False, labelcolor=SOFT, loc="lower right", title="what it uses", **looks)
    legend.get_title().set_color(SOFT)
    note = (
        "Points are whole systems, as printed in Table 4; the two baselines as in Table 1"
        + ("; crosses are measured" if own else "")
        + ".\nDashed: what section 1 counts of the 23 baselines that such systems were built on."
    )
    made.supxlabel(note, color=SOFT, fontsize=SMALL, x=0.01, ha="left")
    return made


def finding(points: Sequence[Point]) -> str:
    """Return what a panel shows, in words: where the strong baseline stands among the systems."""
    strong, others = _one(points, "ours"), [point for point in points if point.source == "Table 4"]
    better = sorted((p for p in others if p.map > strong.map), key=lambda p: -p.map)
    names = " and ".join(f"{p.name} ({100 * p.map:.1f})" for p in better)
    ahead = f"only {names} has more" if len(better) == 1 else f"{names} have more" if better else "more than any other"
    return f"{100 * strong.map:.1f} mAP: of {len(others)} systems {ahead}"


def _dataset(name: str | None, text: str) -> str:
    if name is not None and name not in SETS:
        raise UsageError(
            f"measured {one_line(text)}: there is no panel {one_line(name)}: choose {' or '.join(SETS)}",
            argument="measured",
        )
    return name or "market1501"


def _one(points: Sequence[Point], kind: str) -> Point:
    return next(point for point in points if point.kind == kind)


def _panel(axes: Axes, points: Sequence[Point], dataset: str) -> None:
    for number, kind in enumerate(KINDS):
        x, y = [[100 * value for value in each] for each in _columns(points, kind)]
        axes.scatter(x, y, s=56, color=GROUPS[number], marker=MARKS[number], label=kind, alpha=0.9, zorder=3)
    looks: dict[str, dict[str, Any]] = {
        "standard": {"s": 120, "marker": "o", "facecolor": "none", "edgecolor": WARM, "linewidth": 2.4, "zorder": 4},
        "ours": {"s": 380, "marker": "*", "color": WARM, "zorder": 4},
        "measured": {"s": 100, "marker": "x", "color": INK, "linewidth": 2.6, "zorder": 5},
    }
    for kind, mark in looks.items():
        x, y = [[100 * value for value in each] for each in _columns(points, kind)]
        axes.scatter(x, y, **mark)
    _limits(axes, dataset)
    _gain(axes, points)
    axes.margins(0.08)
    for point, (beside, side) in zip(points, _places(points), strict=True):
        strong = point.kind in looks
        look: dict[str, Any] = {"fontsize": SIZES[strong], "fontweight": "bold" if strong else "normal"}
        look |= {"color": WARM if strong and point.kind != "measured" else INK, "ha": side, "va": "center"}
        axes.annotate(
            one_line(point.name, MOST),
            (100 * point.map, 100 * point.rank1),
            beside,
            textcoords="offset points",
            parse_math=False,
            zorder=6,
            bbox=text_background(0.7),
            # A short line leads from a name that stands aside to its point.
            arrowprops={"arrowstyle": "-", "color": SOFT, "lw": 0.6, "shrinkB": 3, "shrinkA": 0} if beside[1] else None,
            **look,
        )


def _columns(points: Sequence[Point], kind: str) -> tuple[list[float], list[float]]:
    chosen = [point for point in points if point.kind == kind]
    return [point.map for point in chosen], [point.rank1 for point in chosen]


def _gain(axes: Axes, points: Sequence[Point]) -> None:
    """An arrow from the standard to the strong baseline, with what the tricks gave."""
    first, last = _one(points, "standard"), _one(points, "ours")
    ends = [(100 * point.map, 100 * point.rank1) for point in (first, last)]
    look: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.35,head_length=0.7", "color": WARM, "lw": 5, "alpha": 0.25}
    axes.annotate("", ends[1], ends[0], arrowprops={**look, "shrinkA": 8, "shrinkB": 12}, zorder=2)
    (x0, y0), (x1, y1) = ends
    words = f"by the tricks: +{y1 - y0:.1f} rank-1,\n+{x1 - x0:.1f} mAP"
    beside: dict[str, Any] = {"textcoords": "offset points", "ha": "left", "va": "top", "bbox": text_background(0.7)}
    axes.annotate(words, ends[0], (GAIN[0], -GAIN[1]), color=WARM, fontsize=SMALL, zorder=6, **beside)


def _limits(axes: Axes, dataset: str) -> None:
    """The lines that section 1 of the paper says its 23 baselines stayed under."""
    rank1, mean = LIMITS[dataset]
    dashes: dict[str, Any] = {"color": SOFT, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1}
    words = "2 of 23 baselines above" if dataset == "market1501" else "no baseline above"
    axes.axhline(100 * rank1, **dashes)
    if mean is not None:
        axes.axvline(100 * mean, **dashes)
        beside: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "top"}
        axes.text(100 * mean + 0.2, 0.98, "no baseline to the right", color=SOFT, fontsize=SMALL, **beside)
    transform = axes.get_yaxis_transform()
    axes.text(0.01, 100 * rank1 + 0.15, words, color=SOFT, fontsize=SMALL, transform=transform, va="bottom")


def _places(points: Sequence[Point]) -> list[LabelPosition]:
    """Where each name goes beside its point; the bold names choose first, and the words of the arrow are kept free."""
    across, up = scale_to([p.map for p in points], PANEL[0]), scale_to([p.rank1 for p in points], PANEL[1])
    bold = [point.source != "Table 4" for point in points]
    spots = [*zip(across, up, strict=True)]
    names = [
        Name((x, y), (width(point.name, SIZES[b], bold=b), 1.3 * SIZES[b]), 14.0 if b else 8.0)
        for point, (x, y), b in zip(points, spots, bold, strict=True)
    ]
    free = [
        (x + GAIN[0], y - GAIN[1] - GAIN[3], x + GAIN[0] + GAIN[2], y - GAIN[1])
        for (x, y), point in zip(spots, points, strict=True)
        if point.kind == "standard"
    ]
    return place_names(names, sorted(range(len(points)), key=lambda i: not bold[i]), free, PANEL)
