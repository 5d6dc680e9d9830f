"""The top of each ranked list put in another order by two sequences of vectors: rows, or all places, of feature maps.

One distance of two images is replaced by an alignment of their parts, for the `top` nearest of each query alone, so
that the cost does not grow with the gallery: `path` is AlignedReID's local distance (arXiv:1711.08184, section 3.1),
`attention` an alignment as in DuATM (Si et al., CVPR 2018) without learned parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import distance_blocks
from reidkit.metrics.matching import check_comparable, subset, with_own_known
from reidkit.metrics.retrieval import score_blocks
from reidkit.types import JUNK, RescoreMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Cameras, Embeddings, Metric

    Floats = NDArray[np.float32]

RESCORE_TOP = 100
"""How many of each list are compared by sequences, unless more or fewer are asked for."""

TEMPERATURE = 0.1
"""What the cosines of two places are divided by in the softmax of `attention`."""


def path_distances(query_sd: ArrayLike, images_ktd: ArrayLike) -> Floats:
    """Compute AlignedReID's local distance of a query to each of k images, divided by the cells of a path.

    With rows of length one, cell (i, j) is tanh(|a_i - b_j| / 2) (equation 1). The distance is the smallest sum of the
    S + T - 1 cells on a way from (1, 1) to (S, T) by steps down or right (equation 2); divided by their number it lies
    between 0 and 1. That of an image to itself need not be 0.

    Args:
        query_sd: S vectors of the query from top to bottom, [S, D].
        images_ktd: T of each image, [K, T, D].

    Returns:
        float32 [K].
    """
    cos_kst = _cosines(query_sd, images_ktd)
    cells = np.tanh(np.sqrt(np.maximum(2 - 2 * cos_kst, 0)) / 2).astype(np.float32)
    found: Floats = shortest_paths(cells) / np.float32(cells.shape[1] + cells.shape[2] - 1)
    return found


def attention_distances(query_sd: ArrayLike, images_ktd: ArrayLike, temperature: float = TEMPERATURE) -> Floats:
    """Compute how far the vectors of a query and of each of k images are from what they find in the other.

    With vectors of length one, A' = softmax(A B^T / t) B is what each vector of A finds in B. The distance is the mean
    of |a - a'| over A and of |b - b'| over B, halved.

    Args:
        query_sd: S vectors of the query, in any order, [S, D].
        images_ktd: T of each image, [K, T, D].
        temperature: t.

    Returns:
        float32 [K].
    """
    query, images = _units(query_sd), _units(images_ktd)
    cos_kst = _cosines(query, images)
    ours = _softmax(cos_kst / temperature) @ images
    theirs = _softmax(cos_kst.transpose(0, 2, 1) / temperature) @ query
    far = (np.linalg.norm(query - ours, axis=2).mean(axis=1), np.linalg.norm(images - theirs, axis=2).mean(axis=1))
    found: Floats = ((far[0] + far[1]) / 2).astype(np.float32)
    return found


METHODS: dict[str, Callable[[Any, Any], Floats]] = {"path": path_distances, "attention": attention_distances}
"""The ways of comparing two sequences, by their names."""


@compiled
def shortest_paths(cells: Floats) -> Floats:
    """Return the smallest sum of cells from the first to the last corner of each [S, T] of `cells` [K, S, T]."""
    count, rows, columns = cells.shape
    sums = np.empty(count, np.float32)
    best = np.empty(columns, np.float32)
    for k in range(count):
        for i in range(rows):
            for j in range(columns):
                # Before this row, best[j] is the sum up to the cell above; best[j - 1] is that of the cell to the left.
                if i == 0 and j == 0:
                    before = np.float32(0)
                elif i == 0:
                    before = best[j - 1]
                elif j == 0:
                    before = best[j]
                else:
                    before = min(best[j], best[j - 1])
                best[j] = before + cells[k, i, j]
        sums[k] = best[columns - 1]
    return sums


def score_rescored(  # noqa: PLR0913 (each a plain argument)
    query: Embeddings,
    gallery: Embeddings,
    sequences: tuple[NDArray[Any], NDArray[Any]],
    method: RescoreMethod = "path",
    *,
    top: int = RESCORE_TOP,
    weight: float = 0.5,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
) -> Scores:
    """Score the search after the `top` nearest of each query are put in another order; the rest stays behind them.

    Args:
        query: features with ids and cameras.
        gallery: likewise; junk is dropped before the nearest are counted.
        sequences: those of the query [Q, S, D], and those of the gallery [G, T, D].
        method: `path` or `attention`.
        top: how many of each list.
        weight: w in (1 - w) d + w l, of the distance d of the features and that l of the sequences.
        metric: how features are compared.
        cameras: as for `score`.

    Raises:
        DataError: features, labels or sequences that do not fit each other, or no query with a true match.
        UsageError: a method that there is not, or a number that makes no sense.
    """
    check_rescore(method, top, weight)
    check_comparable(query, gallery)
    _check_sequences(query, gallery, sequences)
    query, gallery = with_own_known(query, gallery)
    images = np.flatnonzero(gallery.pids != JUNK)
    if len(images) < len(gallery.pids):
        gallery, sequences = subset(gallery, images), (sequences[0], sequences[1][images])
    blocks = _rescored(query, gallery, sequences, METHODS[method], (top, weight, metric))
    return score_blocks(blocks, query, gallery, cameras=cameras)


def check_rescore(method: str, top: int, weight: float = 0.5) -> None:
    """Refuse a way of re-scoring that there is not.

    Raises:
        UsageError: no such method, or a number that makes no sense.
    """
    if method not in get_args(RescoreMethod):
        raise UsageError(
            f"there is no re-scoring by {method}: choose {' or '.join(get_args(RescoreMethod))}", argument="rescore"
        )
    if top < 1:
        raise UsageError(f"re-scoring the top {top} of each list: choose 1 or more", argument="rescore_top")
    if not 0 <= weight <= 1:
        raise UsageError(f"re-scoring with weight={weight}: it must be between 0 and 1", argument="weight")


def _rescored(
    query: Embeddings,
    gallery: Embeddings,
    sequences: tuple[NDArray[Any], NDArray[Any]],
    compare: Callable[[Any, Any], Floats],
    numbers: tuple[int, float, Metric],
) -> Iterator[tuple[int, Floats]]:
    """Yield distances a block of queries at a time, those of the top below 0 and so before all others."""
    top, weight, metric = numbers
    for first, block in distance_blocks(query.vectors, gallery.vectors, metric):
        for row, distances in enumerate(block):
            near = np.argsort(distances, kind="stable")[:top]
            local = compare(sequences[0][first + row], sequences[1][near])
            both = (1 - weight) * distances[near] + weight * local
            distances[near] = both - both.max() - 1
        yield first, block


def _check_sequences(query: Embeddings, gallery: Embeddings, sequences: tuple[NDArray[Any], NDArray[Any]]) -> None:
    for name, side, found in zip(("query", "gallery"), (query, gallery), sequences, strict=True):
        if found.ndim != 3 or len(found) != len(side.pids) or not all(found.shape[1:]):
            raise DataError(
                f"the {name}'s sequences are {list(found.shape)}: give [{len(side.pids)}, S, D], S vectors an image"
            )
        if not np.isfinite(found).all():
            raise DataError(f"the {name}'s sequences hold a NaN or an infinity: make them anew")
    if sequences[0].shape[2] != sequences[1].shape[2]:
        raise DataError(
            f"the vectors of the sequences have {sequences[0].shape[2]} and {sequences[1].shape[2]} numbers: make both "
            "by one model"
        )


def _units(vectors: ArrayLike) -> Floats:
    """Scale vectors [..., D] to length one; those of length 0 stay."""
    rows = np.asarray(vectors, dtype=np.float32)
    units: Floats = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return units


def _cosines(query_sd: ArrayLike, images_ktd: ArrayLike) -> Floats:
    """Return the cosines of each vector of the query with each of the images, [K, S, T]."""
    query, images = _units(query_sd), _units(images_ktd)
    count, places, length = images.shape
    products = query @ images.reshape(count * places, length).T
    found: Floats = products.reshape(len(query), count, places).transpose(1, 0, 2)
    return found


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    found: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return found


def read_sequences(path: Path) -> NDArray[Any]:
    """Read an array of numbers from a .npy; nothing in it is executed.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no array of numbers"
        raise DataError(f"{path} cannot be read ({why}): give [N, S, D] as numpy.save writes it") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        raise DataError(f"{path} holds no array of fractions: give [N, S, D] as numpy.save writes it")
    return found
