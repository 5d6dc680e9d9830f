"""Features as points in the plane: principal components or t-SNE (van der Maaten & Hinton, 2008), coloured by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.plots.style import (
    SMALL,
    SOFT,
    add_heading,
    darker,
    group_colour,
    group_marker,
    new_figure,
    one_line,
    style_axes,
    text_background,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

LABELLED = 24
"""With up to so many ids, each has its number on its points; more numbers would cover each other."""


class Plane(NamedTuple):
    """Points [N, 2], and the fraction of the variance along each of the two axes."""

    points: Array
    variance: tuple[float, float]


class Panel(NamedTuple):
    """Points [N, 2] under a title, with the labels of the two axes; "" where their numbers have no meaning."""

    title: str
    points: Array
    x: str
    y: str


def pca(vectors_nd: NDArray[np.floating]) -> Plane:
    """Project vectors [N, D] on the two directions of the largest variance; a direction that is missing gives zeros.

    The sign of an axis is such that the largest coordinate along it is positive.

    Raises:
        DataError: no vectors, or some that are not finite.
    """
    vectors = _checked(vectors_nd)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    total = float(np.square(values).sum()) or 1.0
    points, values = (left * values)[:, :2], values[:2]
    missing = 2 - points.shape[1]
    points, values = np.pad(points, ((0, 0), (0, missing))), np.pad(values, (0, missing))
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    first, second = (float(value) ** 2 / total for value in values)
    return Plane(points * np.where(largest < 0, -1.0, 1.0), (first, second))


def tsne(vectors_nd: NDArray[np.floating], perplexity: float = 30.0) -> Array:
    """Map vectors [N, D] to the plane [N, 2] by t-SNE, from their principal components, so that runs agree.

    The perplexity is lowered to a third of the other points where it is larger.

    Raises:
        DataError: fewer than 4 vectors, or some that are not finite.
        UsageError: a perplexity that is not above 0.
    """
    from sklearn.manifold import TSNE

    if not perplexity > 0:
        raise UsageError(f"a perplexity of {perplexity}: it must be above 0, as 30", argument="perplexity")
    vectors = _checked(vectors_nd)
    if len(vectors) < 4:
        raise DataError(f"t-SNE needs 4 images and there are {len(vectors)}: choose more ids, or use PCA")
    start = pca(vectors).points
    start *= 1e-4 / (start[:, 0].std() or 1.0)
    method = TSNE(perplexity=min(perplexity, (len(vectors) - 1) / 3), init=start, random_state=0, n_jobs=1)
    points: Array = method.fit_transform(vectors).astype(np.float64)
    return points


def _checked(given: ArrayLike) -> Array:
    vectors = np.asarray(given)
    if vectors.ndim != 2 or not vectors.size:
        raise DataError("there are no features to draw: give images")
    if not np.isfinite(vectors).all():
        raise DataError("some features are not finite: the training of this model diverged, use another one")
    return vectors.astype(np.float64)


def points_figure(panels: Sequence[Panel], pids_n: NDArray[np.int64], title: str) -> Figure:
    """Draw the same N images, whose ids are `pids_n`, as each panel places them; each id's number stands on its median.

    Raises:
        DataError: there is nothing to draw.
    """
    if not panels or not len(pids_n):
        raise DataError("there are no images to draw as points: give a data set that has")
    figure = new_figure(5.7 * len(panels) + 1.2, 6.0)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, panel, pids_n)
    ids = np.unique(pids_n)
    looks: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "labelcolor": SOFT, "title": "id"}
    looks |= {"fontsize": SMALL, "handletextpad": 0.1, "markerscale": 1.3, "columnspacing": 0.6}
    columns = 1 + (len(ids) - 1) // 24
    legend = figure.legend(grid[0].collections, [str(pid) for pid in ids], ncols=columns, **looks)
    legend.get_title().set_color(SOFT)
    add_heading(figure, one_line(title, 110))
    return figure


def _draw_panel(axes: Axes, panel: Panel, pids_n: NDArray[np.int64]) -> None:
    ids = np.unique(pids_n)
    for i, pid in enumerate(ids):
        x, y = panel.points[pids_n == pid].T
        axes.scatter(x, y, s=26, color=group_colour(i), marker=group_marker(i), linewidth=0, alpha=0.85)
    finding = f"the nearest point has the same id for {100 * same_id_fraction(panel.points, pids_n):.0f} %"
    style_axes(axes, x=panel.x, y=panel.y, title=panel.title, finding=finding)
    axes.set_aspect("equal", adjustable="datalim")
    if not panel.x:
        axes.set(xticklabels=[], yticklabels=[])
    if len(ids) <= LABELLED:
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "fontweight": "bold"}
        for i, (pid, place) in enumerate(zip(ids, _label_places(panel.points, pids_n), strict=True)):
            axes.annotate(str(pid), place, color=darker(group_colour(i)), bbox=text_background(), **look)


def same_id_fraction(points_n2: Array, pids_n: NDArray[np.int64]) -> float:
    """Return the fraction of points whose nearest other point has the same id; 0 where there is only one point."""
    from scipy.spatial import KDTree

    if len(points_n2) < 2:
        return 0.0
    _, nearest = KDTree(points_n2).query(points_n2, k=2)
    # Of two equal points, the first neighbour may be the other one and not the point itself.
    other = np.where(nearest[:, 0] == np.arange(len(points_n2)), nearest[:, 1], nearest[:, 0])
    return float((pids_n[other] == pids_n).mean())


def _label_places(points_n2: Array, pids_n: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Where the numbers of the ids stand: on the median of each, moved up or down until no two cover each other."""
    extent = float(np.ptp(points_n2, axis=0).max())
    line, letters = 0.045 * extent, 0.075 * extent
    taken: list[tuple[float, float]] = []
    for pid in np.unique(pids_n):
        x, y = np.median(points_n2[pids_n == pid], axis=0).tolist()
        places = [y + step * line for k in range(9) for step in ({k, -k})]
        free = [up for up in places if all(abs(up - b) >= line or abs(x - a) >= letters for a, b in taken)]
        taken.append((x, (free or places)[0]))
    return taken
