"""How exact re-ranked distances are: reidkit's and the usual program's beside the definition in double precision.

The definition is k-reciprocal re-ranking (Zhong et al. 2017) in double precision from the first step to the last,
neighbours by distance and then by index. It needs no full matrix, so that Market-1501's size takes 3 GB and a few
minutes on one core.

Run: `python -m benchmarks.rerank_exactness [--size 3368 15913 2048] [--features QUERY.npz GALLERY.npz]`. Prints one
JSON object: for either program the largest difference from the definition, the part of the entries that are off by more
than 1e-3 and 1e-5, the queries with such an entry, and how many lists of the k1 + 1 nearest are in another order.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from benchmarks.reranking import K1, K2, LAM, MARKET, features, usual

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]
    Doubles = NDArray[np.float64]

BLOCK = 512
KEPT = K1 + 20
"""Candidates that are sorted by distance and index; ties among more than this many would need more."""


def units(points: NDArray[Any]) -> Doubles:
    """Rows of length one."""
    wide = points.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def lists(points: Doubles) -> tuple[NDArray[np.int64], Doubles]:
    """The k1 + 1 nearest of every point by squared distance and then by index, and its largest squared distance."""
    squares = np.square(points).sum(axis=1)
    near, farthest = np.empty((len(points), K1 + 1), np.int64), np.empty(len(points))
    for first in range(0, len(points), BLOCK):
        rows = slice(first, min(first + BLOCK, len(points)))
        dist = squares[rows, None] + squares - 2 * (points[rows] @ points.T)
        dist[np.arange(rows.stop - first), np.arange(first, rows.stop)] = 0
        farthest[rows] = dist.max(axis=1)
        some = np.sort(np.argpartition(dist, KEPT, axis=1)[:, :KEPT], axis=1)
        order = np.argsort(np.take_along_axis(dist, some, axis=1), axis=1, kind="stable")
        near[rows] = np.take_along_axis(some, order, axis=1)[:, : K1 + 1]
    return near, farthest


def definition(query: Matrix, gallery: Matrix, round_units: bool) -> tuple[Doubles, NDArray[np.int64]]:
    """The distances of the definition, and the lists. `round_units`: features of length one are rounded to float32."""
    points = units(np.concatenate([query, gallery]))
    if round_units:
        points = points.astype(np.float32).astype(np.float64)
    near, farthest = lists(points)
    mutual = {k: [_mutual(near, i, k) for i in range(len(points))] for k in (K1, round(K1 / 2))}
    starts, columns, values = [0], [], []
    for i in range(len(points)):
        core = set(mutual[K1][i])
        halves = [set(mutual[round(K1 / 2)][j]) for j in mutual[K1][i]]
        members = np.array(sorted(core.union(*(half for half in halves if 3 * len(half & core) > 2 * len(half)))))
        weight = np.exp(-np.square(points[members] - points[i]).sum(axis=1) / farthest[i])
        columns.append(members)
        values.append(weight / weight.sum())
        starts.append(starts[-1] + len(members))
    rows = sparse.csr_array((np.concatenate(values), np.concatenate(columns), starts), shape=(len(points),) * 2)
    mean = sum((rows[near[:, k]] for k in range(1, K2)), rows[near[:, 0]]) / K2
    count = len(query)
    holders, result = sparse.csc_array(mean[count:]), np.empty((count, len(gallery)))
    squares = np.square(points).sum(axis=1)
    for i in range(count):
        common = np.zeros(len(gallery))
        for c in range(mean.indptr[i], mean.indptr[i + 1]):
            part = slice(*holders.indptr[mean.indices[c] : mean.indices[c] + 2])
            common[holders.indices[part]] += np.minimum(mean.data[c], holders.data[part])
        dist = squares[i] + squares[count:] - 2 * (points[count:] @ points[i])
        result[i] = (1 - LAM) * (1 - common / (2 - common)) + LAM * dist / farthest[i]
    return result, near


def _mutual(near: NDArray[np.int64], i: int, k: int) -> list[int]:
    forward = near[i, : k + 1]
    return [int(j) for j in forward[(near[forward, : k + 1] == i).any(axis=1)]]


def ours(query: Matrix, gallery: Matrix) -> Matrix:
    """The distances of this library."""
    from reidkit.metrics.reranking.k_reciprocal import k_reciprocal

    return k_reciprocal(query, gallery)


def gaps(found: Matrix, right: Doubles) -> dict[str, float]:
    """How far distances are from the right ones."""
    largest, counts = 0.0, dict.fromkeys((1e-3, 1e-5), 0)
    queries = dict.fromkeys(counts, 0)
    for row, wanted in zip(found, right, strict=True):
        apart = np.abs(row - wanted)
        largest = max(largest, float(apart.max()))
        for limit in counts:
            off = int((apart > limit).sum())
            counts[limit] += off
            queries[limit] += off > 0
    parts: dict[str, float] = {"largest": largest}
    for limit in counts:
        parts |= {f"entries_off_{limit:g}": counts[limit] / found.size, f"queries_off_{limit:g}": queries[limit]}
    return parts


def _apart(work: Callable[[Matrix, Matrix], Matrix], query: Matrix, gallery: Matrix) -> Matrix:
    """A program in a process of its own, so that its memory goes back."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        result: Matrix = pool.apply(work, (query, gallery))
    return result


def main() -> None:
    """Compare them and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=MARKET, help="queries, gallery images, dimensions")
    parser.add_argument("--features", type=Path, nargs=2, help="features files instead of made-up features")
    parser.add_argument("--no-usual", action="store_true", help="leave out the usual program, which takes 7 GB")
    chosen = parser.parse_args()
    if chosen.features:
        query, gallery = (np.load(path)["vectors"].astype(np.float32) for path in chosen.features)
    else:
        query, gallery = features(*chosen.size)
    found = {"reidkit": _apart(ours, query, gallery)}
    if not chosen.no_usual:
        found["usual"] = _apart(usual, query, gallery)
    said: dict[str, Any] = {"size": [len(query), *gallery.shape]}
    lists_of = []
    for round_units in (False, True):
        right, near = definition(query, gallery, round_units)
        name = "definition of float32 units" if round_units else "definition"
        said[name] = {program: gaps(distances, right) for program, distances in found.items()}
        lists_of.append(near)
    said["lists that rounding the units changes"] = int((lists_of[0] != lists_of[1]).any(axis=1).sum())
    if "usual" in found:
        said["reidkit and usual"] = gaps(found["reidkit"], found["usual"].astype(np.float64))
    print(json.dumps(said, indent=2))


if __name__ == "__main__":
    main()
