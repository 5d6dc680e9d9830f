"""Figure 1: what was published at the time as points of rank-1 and mAP, and the strong baseline above them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit.recipes.bag_of_tricks import TABLE1
from reidkit.recipes.published import OTHERS
from reidkit.report.canvas import ACCENT, GROUPS, INK, SOFT, WARM, plain, sheet, shown
from reidkit.train import journal
from reidkit.types import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SETS = {"market1501": "Market-1501", "dukemtmc": "DukeMTMC-reID"}
LIMITS = {"market1501": (0.9, None), "dukemtmc": (0.8, 0.65)}
"""Section 1 of the paper: two of 23 baselines beat this rank-1 on Market-1501, none these scores on DukeMTMC-reID."""

KINDS = ("global", "stripes", "attention", "masks", "pose", "GAN")
MARKS = ("o", "s", "D", "^", "v", "P")
OFFERS = {
    bold: tuple(
        (float(dx), float(dy), side)
        for far in (1, 1.6)
        for dx, dy, side in (
            (near, 0, "left"),
            (-near, 0, "right"),
            (near, 9 * far, "left"),
            (near, -9 * far, "left"),
            (-near, 9 * far, "right"),
            (-near, -9 * far, "right"),
            (0, 11 * far, "center"),
            (0, -11 * far, "center"),
        )
    )
    for bold, near in ((False, 8), (True, 13))
}
"""Where a name may stand beside its point, in printer's points; bold names keep more distance."""

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
    """The other methods of Table 4, and the two baselines of Table 1, as printed."""
    points = []
    for _, title, scores in OTHERS:
        name, kind, _ = title.split(", ")
        points += [Point(name, kind, dataset, *pair, "Table 4") for dataset, pair in scores.items()]
    for row, name, kind in ((TABLE1[0], "standard baseline", "standard"), (TABLE1[-1], "strong baseline", "ours")):
        pairs = {"market1501": row.market, "dukemtmc": row.duke}
        points += [Point(name, kind, dataset, *pair, "Table 1") for dataset, pair in pairs.items() if pair]
    return tuple(points)


def measured(text: str) -> Point:
    """A point of one's own: `[DATASET:]NAME=RANK1,MAP` in per cent, or `[DATASET:]RUN`, the folder of a run.

    Raises:
        UsageError: it is neither, or no percentage.
        DataError: the run has no scores.
    """
    if given := _GIVEN.fullmatch(text):
        dataset, name, rank1, mean = given.groups()
        if max(float(rank1), float(mean)) > 100:
            raise UsageError(f"--measured {shown(text)}: rank-1 and mAP are per cent, at most 100")
        return Point(name, "measured", _dataset(dataset, text), float(rank1) / 100, float(mean) / 100, "measured")
    prefix, colon, rest = text.partition(":")
    dataset, folder = (prefix, rest) if colon and prefix in SETS else (None, text)
    log = Path(folder) / "log.jsonl"
    if not log.is_file():
        raise UsageError(f"--measured {shown(text)}: write it as NAME=RANK1,MAP, or name the folder of a run")
    rows = [row for row in journal.read(log) if row.get("kind") == "scores" and "map" in row]
    if not rows:
        raise DataError(f"{folder} has no scores in its log: `reidkit evaluate` gives them, for NAME=RANK1,MAP")
    name = Path(folder).resolve().name
    return Point(name, "measured", _dataset(dataset, text), rows[-1]["rank1"], rows[-1]["map"], "measured")


def figure(own: Sequence[Point] = ()) -> Figure:
    """One panel for each data set; every point has its name."""
    points = (*published(), *own)
    made = sheet(13.2, 6.2)
    grid = made.subplots(1, len(SETS))
    for axes, (dataset, title) in zip(grid, SETS.items(), strict=True):
        _panel(axes, [point for point in points if point.dataset == dataset], dataset)
        plain(axes, x="mAP, per cent", y="rank-1, per cent" if axes is grid[0] else "", title=title)
    grid[0].legend(
        frameon=False, labelcolor=SOFT, loc="lower right", title="what it uses", title_fontsize=9, fontsize=9
    )
    note = "Names as in Table 4 of the paper, scores as printed there; the two baselines as in Table 1"
    made.supxlabel(note + ("; crosses are measured." if own else "."), color=SOFT, fontsize=9, x=0.01, ha="left")
    return made


def _dataset(name: str | None, text: str) -> str:
    if name is not None and name not in SETS:
        raise UsageError(f"--measured {shown(text)}: there is no panel {shown(name)}: choose {' or '.join(SETS)}")
    return name or "market1501"


def _panel(axes: Axes, points: Sequence[Point], dataset: str) -> None:
    for number, kind in enumerate(KINDS):
        x, y = [[100 * value for value in each] for each in _columns(points, kind)]
        axes.scatter(x, y, s=46, color=GROUPS[number], marker=MARKS[number], label=kind, alpha=0.85, zorder=3)
    looks: dict[str, dict[str, Any]] = {
        "standard": {"s": 110, "marker": "o", "facecolor": "none", "edgecolor": ACCENT, "linewidth": 2},
        "ours": {"s": 330, "marker": "*", "color": ACCENT, "zorder": 4},
        "measured": {"s": 90, "marker": "x", "color": WARM, "linewidth": 2.4, "zorder": 5},
    }
    for kind, mark in looks.items():
        x, y = [[100 * value for value in each] for each in _columns(points, kind)]
        axes.scatter(x, y, **mark)
    _limits(axes, dataset)
    axes.margins(0.07)
    for point, (place, side) in zip(points, _places(points), strict=True):
        strong = point.kind in looks
        look: dict[str, Any] = {"fontsize": 10 if strong else 8.5, "fontweight": "bold" if strong else "normal"}
        look |= {"color": {"measured": WARM}.get(point.kind, ACCENT) if strong else INK, "ha": side, "va": "center"}
        axes.annotate(
            shown(point.name, 28),
            (100 * point.map, 100 * point.rank1),
            place,
            textcoords="offset points",
            parse_math=False,
            zorder=6,
            # A short line leads from a name that stands aside to its point.
            arrowprops={"arrowstyle": "-", "color": SOFT, "lw": 0.6, "shrinkB": 3, "shrinkA": 1} if place[1] else None,
            **look,
        )


def _columns(points: Sequence[Point], kind: str) -> tuple[list[float], list[float]]:
    chosen = [point for point in points if point.kind == kind]
    return [point.map for point in chosen], [point.rank1 for point in chosen]


def _limits(axes: Axes, dataset: str) -> None:
    """The lines that section 1 of the paper says its 23 baselines stayed under."""
    rank1, mean = LIMITS[dataset]
    dashes: dict[str, Any] = {"color": SOFT, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1}
    words = "only 2 of 23 baselines above" if dataset == "market1501" else "no baseline above"
    axes.axhline(100 * rank1, **dashes)
    if mean is not None:
        axes.axvline(100 * mean, **dashes)
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "bottom"}
        axes.text(100 * mean + 0.2, 0.02, "no baseline to the right", color=SOFT, fontsize=8.5, **place)
    transform = axes.get_yaxis_transform()
    axes.text(0.01, 100 * rank1 + 0.15, words, color=SOFT, fontsize=8.5, transform=transform, va="bottom")


def _places(points: Sequence[Point]) -> list[tuple[tuple[float, float], str]]:
    """Where each name goes beside its point: the first of a few places that is far from other points and names.

    The bold names choose first. Units are those of a panel of 100 x 100; a name is as wide as its letters.
    """
    across, up = _spread([p.map for p in points]), _spread([p.rank1 for p in points])
    taken = [(x - 1.3, y - 1.6, x + 1.3, y + 1.6) for x, y in zip(across, up, strict=True)]
    found: dict[int, tuple[tuple[float, float], str]] = {}
    for number in sorted(range(len(points)), key=lambda i: points[i].source == "Table 4"):
        bold = points[number].source != "Table 4"
        width = (1.8 if bold else 1.4) * len(shown(points[number].name, 28))
        boxes = [_box(across[number] + dx / 4, up[number] + dy / 3.3, width, side) for dx, dy, side in OFFERS[bold]]
        clashes = [sum(_overlap(box, other) for other in taken) + 9 * max(0.0, box[2] - 108) for box in boxes]
        best = min(range(len(boxes)), key=lambda i: (round(clashes[i], 1), i))
        taken.append(boxes[best])
        found[number] = (OFFERS[bold][best][:2], OFFERS[bold][best][2])
    return [found[number] for number in range(len(points))]


def _spread(values: Sequence[float]) -> list[float]:
    """The values on a scale from 0 to 100."""
    low, high = min(values), max(values)
    return [100 * (value - low) / (high - low or 1.0) for value in values]


def _box(x: float, y: float, width: float, side: str) -> tuple[float, float, float, float]:
    left = {"left": x, "right": x - width, "center": x - width / 2}[side]
    return left, y - 1.9, left + width, y + 1.9


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0
