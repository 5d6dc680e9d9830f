"""Features as points in the plane, coloured by person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.plots.style import (
    SMALL,
    SOFT,
    add_heading,
    darker,
    group_colour,
    group_marker,
    new_figure,
    style_axes,
    text_background,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray


NAMED = 24
"""Up to so many people have their numbers on the points; more of them would cover each other."""


class Panel(NamedTuple):
    """Points [N, 2] under a title, with the words of the two axes; where there are none, numbers mean nothing."""

    title: str
    points: NDArray[np.float64]
    x: str
    y: str


def points_figure(panels: Sequence[Panel], pids: NDArray[np.int64], title: str) -> Figure:
    """The same images, whose people are `pids` [N], as each panel places them; a person's number stands on the mean.

    Raises:
        DataError: there is nothing to draw.
    """
    if not panels or not len(pids):
        raise DataError("there are no images to draw as points: give a data set that has")
    made = new_figure(5.7 * len(panels) + 1.2, 6.0)
    grid = made.subplots(1, len(panels), squeeze=False)[0]
    people = np.unique(pids)
    for axes, panel in zip(grid, panels, strict=True):
        for number, pid in enumerate(people):
            x, y = panel.points[pids == pid].T
            axes.scatter(x, y, s=26, color=group_colour(number), marker=group_marker(number), linewidth=0, alpha=0.85)
        finding = f"the nearest point has the same id for {100 * alike(panel.points, pids):.0f} %"
        style_axes(axes, x=panel.x, y=panel.y, title=panel.title, finding=finding)
        axes.set_aspect("equal", adjustable="datalim")
        if len(people) <= NAMED:
            for pid, number, place in zip(people, range(len(people)), _middles(panel.points, pids), strict=True):
                look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "fontweight": "bold"}
                axes.annotate(str(pid), place, color=darker(group_colour(number)), bbox=text_background(), **look)
        if not panel.x:
            axes.set(xticklabels=[], yticklabels=[])
    names = grid[0].collections
    looks: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "labelcolor": SOFT, "title": "id"}
    looks |= {"fontsize": SMALL, "handletextpad": 0.1, "markerscale": 1.3, "columnspacing": 0.6}
    legend = made.legend(names, [str(pid) for pid in people], ncols=1 + (len(people) - 1) // 24, **looks)
    legend.get_title().set_color(SOFT)
    add_heading(made, title)
    return made


def alike(points: NDArray[np.float64], pids: NDArray[np.int64]) -> float:
    """The share of points whose nearest other point is of the same person; 0 where there is only one point."""
    if len(points) < 2:
        return 0.0
    square = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    return float((pids[square.argmin(axis=1)] == pids).mean())


def _middles(points: NDArray[np.float64], pids: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Where the people's names go: on the median of each, moved up or down until no two are nearer than a line."""
    spread = np.ptp(points, axis=0)
    line, letters = 0.045 * float(spread.max()), 0.075 * float(spread.max())
    taken: list[tuple[float, float]] = []
    for pid in np.unique(pids):
        x, y = np.median(points[pids == pid], axis=0).tolist()
        offers = [y + step * line for k in range(9) for step in ({k, -k})]
        free = [up for up in offers if all(abs(up - b) >= line or abs(x - a) >= letters for a, b in taken)]
        taken.append((x, (free or offers)[0]))
    return taken
