"""Re-ranking one query at a time against a gallery whose neighbours are kept beside it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from reidkit import npz
from reidkit.atomic import atomic_write
from reidkit.errors import DataError
from reidkit.jit import compiled
from reidkit.metrics.distances import check_pair, from_products, prepare, squared_distance
from reidkit.metrics.neighbours import Neighbours, make_points, nearest_neighbours
from reidkit.metrics.products import multiplier_for
from reidkit.metrics.reranking.expansion import smallest
from reidkit.metrics.reranking.k_reciprocal import (
    Graph,
    KReciprocal,
    Sparse,
    encode_some,
    finish,
    mean_rows,
    mutual,
    transpose,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.metrics.candidates import Points
    from reidkit.metrics.distances import Array
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]


# What one new point changes among the neighbours of a gallery, compiled.


@compiled
def refine_near(points: Points, query: Floats, query_distances: Floats, limits: Floats) -> None:
    """Compute distances again, in double precision, where they may be within the limit of a point.

    Args:
        points: N points.
        query: one more, [D].
        query_distances: its squared distances from products, [N]; replaced in place.
        limits: of each point, [N].
    """
    square = np.float32(0)
    for k in range(query.shape[0]):
        square += query[k] * query[k]
    for g in range(query_distances.shape[0]):
        if query_distances[g] - points.slack * (square + points.squares[g]) > limits[g]:
            continue
        query_distances[g] = squared_distance(points.vectors[g], query)


@compiled
def insert_query(indices: Indices, distances: Floats, query_distances: Floats) -> None:
    """Insert the query, point N, into the lists of all others, before those that are as far; the last falls out."""
    count, size = query_distances.shape[0], indices.shape[1]
    for g in range(count):
        slot = size - 1
        if query_distances[g] > distances[g, slot]:
            continue
        while slot > 0 and query_distances[g] <= distances[g, slot - 1]:
            indices[g, slot] = indices[g, slot - 1]
            distances[g, slot] = distances[g, slot - 1]
            slot -= 1
        indices[g, slot] = count
        distances[g, slot] = query_distances[g]


@compiled
def rows_sharing(indices: Indices, columns: Indices, sizes: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the points that may have one of these columns in R*, from the columns: mutual neighbours are symmetric.

    c is in R*(x) if it is in R(x, k1), or in R(j, k1/2) of a j in R(x, k1). So x is in R(c, k1), or in R(j, k1) of a j
    in R(c, k1/2).
    """
    found = np.zeros(indices.shape[0], np.bool_)
    near, half = np.empty(sizes[0], np.int32), np.empty(sizes[1], np.int32)
    for c in columns:
        for a in range(mutual(indices, c, sizes[0], near)):
            found[near[a]] = True
        for a in range(mutual(indices, c, sizes[1], half)):
            for b in range(mutual(indices, half[a], sizes[0], near)):
                found[near[b]] = True
    return found


@compiled
def rows_with_member(members: Indices, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the rows that have a wanted member."""
    found = np.zeros(members.shape[0], np.bool_)
    for i in range(members.shape[0]):
        for j in members[i]:
            found[i] |= wanted[j]
    return found


PARTS = ("indices", "distances", "farthest", "metric", "features", "k1", "k2", "lam")
"""The arrays of a file."""


@dataclass(frozen=True, eq=False)
class GalleryNeighbours:
    """The neighbours of a gallery's images among themselves: what re-ranking needs that does not depend on the query.

    Make one with `build` or `load`. It may be used by several threads at once.
    """

    points: Points
    neighbours: Neighbours
    settings: KReciprocal
    metric: Metric

    @classmethod
    def build(
        cls, gallery: Array, k1: int = 20, k2: int = 6, lam: float = 0.3, metric: Metric = "cosine"
    ) -> GalleryNeighbours:
        """Find the neighbours of all images of the gallery [G, D]; the settings are those of `k_reciprocal`.

        Raises:
            DataError: a shape that does not fit, or a row with a NaN, an infinity or values of more than 1e18.
            UsageError: settings that make no sense.
        """
        settings = KReciprocal(k1, k2, lam)
        points = make_points(metric, gallery=gallery)
        found = nearest_neighbours(points, settings.longest, multiplier_for(gallery, all_pairs=True))
        _make_exact(points.vectors, found.indices, found.distances)
        return cls(points, found, settings, metric)

    def save(self, path: Path) -> None:
        """Write all but the features to a `.npz`, by an atomic write."""
        with atomic_write(path) as file:
            np.savez(
                file,
                indices=self.neighbours.indices,
                distances=self.neighbours.distances,
                farthest=self.neighbours.farthest,
                metric=self.metric,
                features=_digest(self.points),
                **asdict(self.settings),
            )

    @classmethod
    def load(cls, path: Path, gallery: Array) -> GalleryNeighbours:
        """Read what `save` wrote, for the same gallery.

        Raises:
            DataError: the file cannot be read, or belongs to other features.
        """
        try:
            with path.open("rb") as file, npz.opened(file, PARTS, str(path)) as archive:
                parts: dict[str, Any] = {name: archive.read(name) for name in archive.headers}
            settings = KReciprocal(int(parts["k1"]), int(parts["k2"]), float(parts["lam"]))
            found = Neighbours(parts["indices"], parts["distances"], parts["farthest"])
            metric, digest = cast("Metric", str(parts["metric"])), str(parts["features"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError) as error:
            raise DataError(f"{path} holds no neighbours of a gallery ({error}): build them again") from None
        points = make_points(metric, gallery=gallery)
        if digest != _digest(points):
            raise DataError(f"{path} holds the neighbours of another gallery: build them again")
        if not _fits(found, len(points.vectors), settings.longest):
            raise DataError(f"{path} holds lists that are damaged: build them again")
        return cls(points, found, settings, metric)

    def rerank(self, query: Array, top: int) -> tuple[NDArray[np.int64], Floats]:
        """Find the `top` nearest images to one query by the distance of `k_reciprocal` for that query alone.

        Only the lists that the query enters are changed, and only what can share a neighbour with it is encoded. Ties
        closer than single precision may be broken otherwise.

        Args:
            query: a feature [D].
            top: how many; cut to G.

        Returns:
            The images' numbers int64 [top], nearest first and then by number, and their distances float32 [top].

        Raises:
            DataError: the query does not fit the gallery, or holds a NaN, an infinity or values of more than 1e18.
        """
        check_pair(query[None], self.points.vectors)
        vector = prepare(query[None], self.metric, "query").vectors[0] - self.points.centre
        query_distances = self._query_distances(vector)
        graph = self._joined(query_distances)
        farthest = graph.farthest[-1:]
        distances = query_distances[None].copy()
        finish(distances, _empty(1), _empty(len(graph.indices)), farthest, self.settings.lam)
        near, ours, theirs = self._encoded(graph)
        block = query_distances[None, near]
        finish(block, ours, theirs, farthest, self.settings.lam)
        distances[0, near] = block[0]
        np.maximum(distances, 0, out=distances)
        order = smallest(distances, min(max(top, 1), len(query_distances)))[0]
        return order, distances[0, order]

    def _query_distances(self, vector: Floats) -> Floats:
        """Compute the squared distances of the query to the gallery."""
        query_distances = from_products(self.points.vectors @ vector, vector @ vector, self.points.squares)
        size = min(self.settings.longest, len(query_distances))
        # At least `size` images are no farther than `bound` in truth: all that may be as near are computed again,
        # and not only those that seem to be, as rounding could put another image before them afterwards.
        doubt = self.points.slack * (vector @ vector + self.points.squares)
        bound = np.partition(query_distances + doubt, size - 1)[size - 1]
        limits = self.neighbours.distances[:, -1].copy()
        limits[query_distances - doubt <= bound] = np.inf
        refine_near(self.points, vector, query_distances, limits)
        return query_distances

    def _joined(self, query_distances: Floats) -> Graph:
        """Insert the query, which has the last number, into the neighbours of the gallery."""
        count = len(query_distances)
        size = min(self.settings.longest, count + 1)
        indices = np.empty((count + 1, size), np.int32)
        distances = np.full((count + 1, size), np.inf, np.float32)
        old = self.neighbours.indices.shape[1]
        indices[:count, :old], distances[:count, :old] = self.neighbours.indices, self.neighbours.distances
        insert_query(indices, distances, query_distances)
        indices[count, 0], distances[count, 0] = count, 0
        indices[count, 1:] = smallest(query_distances[None], size - 1)[0]
        distances[count, 1:] = query_distances[indices[count, 1:]]
        farthest = np.append(np.maximum(self.neighbours.farthest, query_distances), query_distances.max())
        return Graph(self.points.vectors, indices, distances, farthest, query_distances)

    def _encoded(self, graph: Graph) -> tuple[NDArray[np.int64], Sparse, Sparse]:
        """Encode the images that share a column with the query, the query's row, and the transpose of theirs."""
        count = len(graph.indices)
        sizes, members = self.settings.sizes(count), self.settings.expansion(graph.indices)
        # The row of the query: the mean of the encodings of its k2 nearest, itself among them.
        first = np.sort(members[-1])
        ours = mean_rows(encode_some(graph, first, sizes), np.arange(len(first), dtype=np.int32)[None], 0, 1)
        sharing = rows_sharing(graph.indices, ours.columns, sizes)
        # Only images of which a neighbour has one of these columns can share a column with the query.
        near = np.flatnonzero(rows_with_member(members[:-1], sharing))
        rows = np.flatnonzero(sharing).astype(np.int32)
        encoded = encode_some(graph, rows, sizes)
        # Their rows are means over encoded points.
        places = np.full(count, len(rows), np.int32)  # those that share nothing have the empty row at the end
        places[rows] = np.arange(len(rows), dtype=np.int32)
        padded = Sparse(np.append(encoded.starts, encoded.starts[-1]), encoded.columns, encoded.values)
        return near, ours, transpose(mean_rows(padded, places[members[near]], 0, len(near)), count)


def _fits(found: Neighbours, count: int, longest: int) -> bool:
    """Return whether lists are what `nearest_neighbours` makes: the compiled loops trust every index."""
    lists = (count, min(longest, count))
    wanted = (
        (found.indices, "int32", lists),
        (found.distances, "float32", lists),
        (found.farthest, "float32", (count,)),
    )
    return all(array.dtype == kind and array.shape == shape for array, kind, shape in wanted) and bool(
        (found.indices >= 0).all() and (found.indices < count).all()
    )


def _empty(rows: int) -> Sparse:
    return Sparse(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _digest(points: Points) -> str:
    return hashlib.blake2b(points.vectors.data, digest_size=16).hexdigest()


@compiled
def _make_exact(vectors: Floats, indices: Indices, distances: Floats) -> None:
    """Compute the squared distances of neighbours in double precision: then those that are equal are equal."""
    for i in range(indices.shape[0]):
        for a in range(indices.shape[1]):
            distances[i, a] = squared_distance(vectors[i], vectors[indices[i, a]])
