"""Features in two dimensions, to be looked at: principal components, and t-SNE (van der Maaten & Hinton, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

FEWEST = 4
"""Points that t-SNE needs: each has three others, of which a third makes a perplexity of 1."""


class Plane(NamedTuple):
    """Points [N, 2], and the share of the variance that each axis holds."""

    points: Array
    shares: tuple[float, float]


def pca(vectors: ArrayLike) -> Plane:
    """Project features [N, D] on the two directions of their largest variance; an axis that is missing is zero.

    The sign of an axis is such that the largest coordinate along it is positive.

    Raises:
        DataError: no vectors, or some that are NaN or infinite.
    """
    from sklearn.decomposition import PCA

    vectors_nd = _checked(vectors)
    count = min(2, *vectors_nd.shape)
    points, shares = np.zeros((len(vectors_nd), 2)), np.zeros(2)
    if (vectors_nd != vectors_nd[0]).any():  # else nothing varies, and no share of the variance is defined
        fitted = PCA(count, svd_solver="full")
        points[:, :count] = fitted.fit_transform(vectors_nd)
        shares[:count] = fitted.explained_variance_ratio_
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    return Plane(points * np.where(largest < 0, -1.0, 1.0), (float(shares[0]), float(shares[1])))


def tsne(vectors: ArrayLike, perplexity: float = 30.0) -> Array:
    """Map features [N, D] to [N, 2] by t-SNE, started from the principal components: nothing is drawn at random.

    The perplexity is at most a third of the other points.

    Raises:
        DataError: fewer than 4 vectors, or some that are NaN or infinite.
    """
    from sklearn.manifold import TSNE

    vectors_nd = _checked(vectors)
    if len(vectors_nd) < FEWEST:
        raise DataError(f"t-SNE needs at least {FEWEST} images and there are {len(vectors_nd)}: give more, or use PCA")
    start = pca(vectors_nd).points
    start *= 1e-4 / (start[:, 0].std() or 1.0)  # as scikit-learn scales it, but for points that are all equal
    mapping = TSNE(
        perplexity=min(perplexity, (len(vectors_nd) - 1) / 3),
        init=start.astype(np.float32),
        learning_rate="auto",
        random_state=0,
    )
    return np.asarray(mapping.fit_transform(vectors_nd), np.float64)


def _checked(vectors: ArrayLike) -> Array:
    vectors_nd = np.asarray(vectors, np.float64)
    if vectors_nd.ndim != 2 or not vectors_nd.size:
        raise DataError("there are no features to draw: give images")
    if not np.isfinite(vectors_nd).all():
        raise DataError("some features are NaN or infinite: train the model again, it has diverged")
    return vectors_nd
