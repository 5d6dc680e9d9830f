"""Features in two dimensions, to be looked at: principal components, and t-SNE (van der Maaten & Hinton, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST = 2000
"""t-SNE here is exact: every pair counts at every step, and memory goes with the square of the points."""

EXAGGERATION, EXAGGERATED_STEPS = 12.0, 100
FLOOR = 1e-12


class Plane(NamedTuple):
    """Points [N, 2], and the share of the variance that each axis holds."""

    points: Array
    shares: tuple[float, float]


def pca(vectors_nd: NDArray[np.floating]) -> Plane:
    """The projection [N, 2] on the two directions of the largest variance; what has no second one gets zeros.

    The sign of an axis is such that the largest coordinate along it is positive.

    Raises:
        DataError: no vectors, or some that are no finite numbers.
    """
    vectors = _checked(vectors_nd)
    centred = vectors - vectors.mean(axis=0)
    # The smaller of the two products of the matrix with itself has the same values.
    if centred.shape[0] < centred.shape[1]:
        values, left = np.linalg.eigh(centred @ centred.T)
        points = left * np.sqrt(np.maximum(values, 0))
    else:
        values, right = np.linalg.eigh(centred.T @ centred)
        points = centred @ right
    values, points = np.maximum(values[::-1][:2], 0), points[:, ::-1][:, :2]
    missing = 2 - points.shape[1]
    points, values = np.pad(points, ((0, 0), (0, missing))), np.pad(values, (0, missing))
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    total = float(np.square(centred).sum()) or 1.0
    return Plane(points * np.where(largest < 0, -1.0, 1.0), (float(values[0]) / total, float(values[1]) / total))


def tsne(
    vectors_nd: NDArray[np.floating],
    perplexity: float = 30.0,
    steps: int = 500,
    tell: Callable[[int, int], None] | None = None,
) -> Array:
    """t-SNE's map [N, 2], started from the principal components, so that nothing is drawn at random.

    Gradient descent with momentum 0.5, after 100 steps 0.8, and gains per coordinate, as its authors do. The perplexity
    is at most a third of the other points. `tell` hears after each step how many are done, and of how many.

    Raises:
        DataError: fewer than 4 vectors, more than 2,000, or some that are no finite numbers.
    """
    vectors = _checked(vectors_nd)
    count = len(vectors)
    if not 4 <= count <= MOST:
        raise DataError(f"t-SNE takes 4 to {MOST} points and there are {count}: choose other people, or use PCA")
    wanted = affinities(vectors, min(perplexity, (count - 1) / 3))
    start = pca(vectors).points
    points = 1e-4 * start / (start[:, 0].std() or 1.0)
    velocity, gains = np.zeros_like(points), np.ones_like(points)
    rate = max(count / EXAGGERATION, 5.0)
    for step in range(steps):
        early = step < EXAGGERATED_STEPS
        _, gradient = divergence(points, wanted * EXAGGERATION if early else wanted)
        against = np.sign(gradient) != np.sign(velocity)
        gains = np.maximum(np.where(against, gains + 0.2, gains * 0.8), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        points = points + velocity
        points -= points.mean(axis=0)
        if tell:
            tell(step + 1, steps)
    return points


def affinities(vectors_nd: Array, perplexity: float) -> Array:
    """p_ij [N, N], summing to 1: how near each pair is under Gaussians whose widths give each point this perplexity."""
    squared = _squared_distances(vectors_nd)
    np.fill_diagonal(squared, np.inf)
    nearest = squared.min(axis=1, keepdims=True)
    spread = np.where(np.isfinite(squared), squared - nearest, 0.0).mean(axis=1, keepdims=True)
    low, high = np.zeros_like(nearest), np.full_like(nearest, np.inf)
    beta = 1 / np.maximum(spread, FLOOR)
    for _ in range(64):
        weights = np.exp(-beta * (squared - nearest))
        given = weights / weights.sum(axis=1, keepdims=True)
        entropy = -(given * np.log(np.maximum(given, FLOOR))).sum(axis=1, keepdims=True)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), 2 * beta, (low + np.where(np.isinf(high), 0, high)) / 2)
    joint: Array = (given + given.T) / (2 * len(given))
    return joint


def divergence(points_n2: Array, wanted_nn: Array) -> tuple[float, Array]:
    """Kullback-Leibler divergence of the map from `wanted_nn`, and its gradient [N, 2].

    q_ij = w_ij / sum(w) with w_ij = 1 / (1 + |y_i - y_j|^2), and dC/dy_i = 4 sum_j (p_ij - q_ij) w_ij (y_i - y_j). The
    gradient is that of sum(p log p/q) where p sums to 1.
    """
    weights = 1 / (1 + _squared_distances(points_n2))
    np.fill_diagonal(weights, 0.0)
    found = weights / weights.sum()
    cost = float((wanted_nn * np.log(np.maximum(wanted_nn, FLOOR) / np.maximum(found, FLOOR))).sum())
    pull = (wanted_nn - found) * weights
    return cost, 4 * (pull.sum(axis=1)[:, None] * points_n2 - pull @ points_n2)


def _squared_distances(points_nd: Array) -> Array:
    squares = np.square(points_nd).sum(axis=1)
    found: Array = np.maximum(squares[:, None] + squares - 2 * points_nd @ points_nd.T, 0.0)
    return found


def _checked(vectors: NDArray[np.floating]) -> Array:
    if vectors.ndim != 2 or not vectors.size:
        raise DataError("there are no features to draw: give images")
    if not np.isfinite(vectors).all():
        raise DataError("some features are no finite numbers: the model that made them is broken")
    return vectors.astype(np.float64)
