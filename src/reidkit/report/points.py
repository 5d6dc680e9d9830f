"""Features as points in the plane, coloured by person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.report.canvas import INK, SOFT, colour, marker, plain, sheet, shown
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
    made = sheet(6.0 * len(panels) + 0.8, 5.6)
    grid = made.subplots(1, len(panels), squeeze=False)[0]
    people = np.unique(pids)
    for axes, panel in zip(grid, panels, strict=True):
        for number, pid in enumerate(people):
            x, y = panel.points[pids == pid].T
            axes.scatter(x, y, s=22, color=colour(number), marker=marker(number), linewidth=0, alpha=0.8)
        for pid in people:
            place = np.median(panel.points[pids == pid], axis=0)
            axes.annotate(str(pid), place, color=INK, fontsize=8, fontweight="bold", ha="center", va="center")
        plain(axes, x=panel.x, y=panel.y, title=panel.title)
        axes.set_aspect("equal", adjustable="datalim")
        if not panel.x:
            axes.set(xticklabels=[], yticklabels=[])
    names = grid[0].collections
    looks: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "labelcolor": SOFT, "title": "person"}
    made.legend(names, [str(pid) for pid in people], ncols=1 + len(people) // 25, **looks)
    made.suptitle(shown(title, 110), x=0.01, ha="left", color=INK, fontsize=10, parse_math=False)
    return made
