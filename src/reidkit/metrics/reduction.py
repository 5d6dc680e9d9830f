"""Fewer dimensions for features, from features alone: the principal axes of a set of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import prepare, shape

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Axes(NamedTuple):
    """A linear map of features of length one: `weight` float32 [d, D], `bias` float32 [d].

    `variance` is the part of the variance that the d axes keep, between 0 and 1.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    variance: float

    def reduce(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features [N, D] on the axes, float32 [N, d]: they are scaled to length one first.

        Raises:
            DataError: they have another length, or one is not finite.
        """
        vectors, (_, length) = _checked(vectors)
        if length != self.weight.shape[1]:
            raise DataError(
                f"features have {length} dimensions and the axes are of {self.weight.shape[1]}: give features of the "
                "same model"
            )
        units = prepare(vectors, "cosine", "vectors").vectors
        reduced: NDArray[np.float32] = units @ self.weight.T + self.bias
        return reduced


def _checked(vectors: Any) -> tuple[Any, tuple[int, int]]:
    """Return features, whatever they come in, and their shape."""
    array = vectors if hasattr(vectors, "dtype") else np.asarray(vectors)
    return array, shape(array, "given")


def principal_axes(vectors: NDArray[np.float32], dim: int, *, power: float = 0.0) -> Axes:
    """Find the axes of the largest variance, by PCA (scikit-learn's) of features scaled to length one.

    y = diag(lambda^-power) C (x - mean), with the principal components C and their variances lambda. `power` 0 only
    turns; 0.5 would make all variances equal (whitening), which loses what told ids apart.

    Args:
        vectors: Features of images of the place that is to be searched, float32 [N, D]; no labels are needed.
        dim: d, how many axes.
        power: Between 0 and 0.5.

    Raises:
        DataError: there are not more than d images, all features are equal, or one is not finite.
        UsageError: d is no number from 1 to D, or `power` not between 0 and 0.5.
    """
    from sklearn.decomposition import PCA

    vectors, (count, length) = _checked(vectors)
    units = prepare(vectors, "cosine", "vectors").vectors
    dim = check_whole(dim, "dim")
    if not 1 <= dim <= length:
        raise UsageError(f"dim={dim} of features of length {length}: choose 1 to {length}", argument="dim")
    if not 0 <= power <= 0.5:
        raise UsageError(f"power={power}: choose 0, which only turns, to 0.5, which whitens", argument="power")
    if count <= dim:
        raise DataError(
            f"{count} images cannot say where {dim} axes lie: give more than {dim} images, better some thousands, or a "
            "smaller dim",
            argument="data",
        )
    if (units == units[0]).all():
        raise DataError(f"the features of all {count} images are equal, and have no axes: give others", argument="data")
    found = PCA(n_components=dim, svd_solver="full").fit(units.astype(np.float64))
    # Axes without variance are not blown up.
    scale = np.maximum(found.explained_variance_, 1e-9 * found.explained_variance_[0]) ** -power
    weight = found.components_ * scale[:, None]
    variance = float(found.explained_variance_ratio_.sum())
    return Axes(weight.astype(np.float32), (-weight @ found.mean_).astype(np.float32), variance)
