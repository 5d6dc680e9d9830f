"""A query as it is compared: the features of its images, moved by what was marked as a true or a false match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

TOWARDS, AWAY = 0.75, 0.25
"""The weights of true and false matches that were marked (Rocchio 1971)."""


class Target(NamedTuple):
    """A query as it is compared: w.x / |x| for `weights` [n, D], the largest of them where there are several."""

    weights: Doubles
    camera: str | None = None
    without: tuple[str, ...] = ()  # keys that are no hits
    marked: tuple[str, ...] = ()


def unit(vectors: NDArray[np.floating]) -> Doubles:
    """Scale features [N, D] to length one; those of zeros stay."""
    doubles = np.asarray(vectors, np.float64)
    length = np.linalg.norm(doubles, axis=1)
    scaled: Doubles = doubles / np.where(length > 0, length, 1)[:, None]
    return scaled


def make_target(  # noqa: PLR0913
    given: NDArray[np.floating],
    true: NDArray[np.floating],
    false: NDArray[np.floating],
    combine: Literal["mean", "best"],
    *,
    camera: str | None = None,
    without: tuple[str, ...] = (),
    marked: tuple[str, ...] = (),
) -> Target:
    """Return the query of features `given` [n, D], with true matches [p, D] and false ones [m, D] that were marked.

    Raises:
        DataError: there is nothing to search for.
    """
    queries = unit(given)
    if combine not in ("mean", "best"):
        raise UsageError(f"several images cannot be combined by {combine}: choose mean or best", argument="combine")
    if not len(queries):
        raise UsageError("a query without an image, a feature or a key: pass one")
    if combine == "mean":
        queries = queries.mean(axis=0, keepdims=True)
    moved = queries
    if len(true):
        moved = moved + TOWARDS * unit(true).mean(axis=0)
    if len(false):
        moved = moved - AWAY * unit(false).mean(axis=0)
    return Target(as_long(moved, queries), camera, without, marked)


def as_long(moved: Doubles, before: Doubles) -> Doubles:
    """Scale queries to the lengths that they had before, so that similarities mean the same."""
    length, wanted = np.linalg.norm(moved, axis=1), np.linalg.norm(before, axis=1)
    if not (np.minimum(length, wanted) > 1e-12).all():
        raise DataError("the feature of the query is zero, or what was marked cancels it: search for another image")
    return moved if moved is before else moved * (wanted / length)[:, None]
