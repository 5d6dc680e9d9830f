"""Other ways to score the same features: several images per query, one gallery image per id, camera by camera."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import Rows, distance_blocks, doubt, gather, pair_squares, prepare, to_squares
from reidkit.metrics.matching import (
    Matches,
    Rule,
    check_comparable,
    require_matches,
    subset,
    with_own_known,
)
from reidkit.metrics.retrieval import DEPTH, Scores, score_features
from reidkit.types import JUNK, Cameras, Embeddings, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


MOST_PAIRS = 40_000
"""Pairs of cameras: those of 200 cameras take a minute or two."""


@dataclass(frozen=True)
class CameraPair:
    """The scores of the queries of one camera in the gallery of another."""

    query_camid: int
    gallery_camid: int
    scores: Scores


@dataclass(frozen=True, eq=False)
class SingleShot:
    """Scores where the gallery holds one image per id, the mean over `repeats` galleries sampled at random.

    `cmc`: float64 [50], the part of the queries whose id is found up to each rank. `map`: the mean of 1 / rank, as
    there is one match. `rank1_deviation`: standard deviation of rank-1 over the galleries.
    """

    rank1: float
    rank5: float
    rank10: float
    rank20: float
    map: float
    rank1_deviation: float
    repeats: int
    queries: int
    queries_skipped: int
    cmc: NDArray[np.float64] = field(repr=False)

    def as_json(self) -> dict[str, float | int]:
        """Return all but the curve."""
        names = (
            "rank1",
            "rank5",
            "rank10",
            "rank20",
            "map",
            "rank1_deviation",
            "repeats",
            "queries",
            "queries_skipped",
        )
        return {name: getattr(self, name) for name in names}


def multi_query(query: Embeddings) -> Embeddings:
    """Merge queries into one for each id and camera: the mean of its features and the path of its first image.

    Give it all images of the query ids (on Market-1501 those in `gt_bbox`), and `score` the result. Junk is dropped.
    None of the images that were merged is a match of their mean (`sources` names them).
    """
    kept = np.flatnonzero(query.pids != JUNK)
    if not len(kept):
        raise DataError("every query image is junk: all pids are -1")
    keys = np.stack((query.pids[kept], query.camids[kept]), axis=1)
    _, first, group, sizes = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    vectors = prepare(gather(query.vectors, kept), "euclidean", "query", kept).vectors
    total = np.zeros((len(sizes), vectors.shape[1]))
    np.add.at(total, group.reshape(-1), vectors)
    firsts = kept[first]
    paths = tuple(query.paths[row] for row in firsts) if query.paths else ()
    means = (total / sizes[:, None]).astype(np.float32)
    merged = Embeddings(means, query.pids[firsts], query.camids[firsts], query.model, paths, names=query.names)
    return replace(merged, sources=_merged_sources(query, kept, group.reshape(-1), len(sizes)))


def _merged_sources(
    query: Embeddings, kept: NDArray[np.int64], group: NDArray[np.int64], groups: int
) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the images of each group; () where they are not known."""
    known = query.sources or tuple((path,) for path in query.paths)
    if not known:
        return ()
    found: list[list[str]] = [[] for _ in range(groups)]
    for row, number in zip(kept.tolist(), group.tolist(), strict=True):
        found[number] += known[row]
    return tuple(map(tuple, found))


def camera_pairs(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    tell: Callable[[str, int, int], None] | None = None,
) -> tuple[CameraPair, ...]:
    """Score every pair of a query camera and a gallery camera that has any.

    `tell` is called with how many pairs are done, of how many.

    Raises:
        DataError: features or labels that cannot be compared, no query with a match, or more than `MOST_PAIRS`.
    """
    check_comparable(query, gallery)
    query, gallery = with_own_known(query, gallery)
    _, matches = require_matches(query, gallery, cameras)
    scored = _scored_pairs(query, gallery, matches)
    pairs, ours = [], {camid: subset(query, np.flatnonzero(query.camids == camid)) for camid in np.unique(scored[:, 0])}
    for theirs in np.unique(scored[:, 1]):
        images = subset(gallery, np.flatnonzero(gallery.camids == theirs))
        for camid in scored[scored[:, 1] == theirs, 0]:
            scores = score_features(ours[camid], images, metric=metric, cameras=cameras)
            pairs.append(CameraPair(int(camid), int(theirs), scores))
            if tell:
                tell("camera pairs", len(pairs), len(scored))
    return tuple(sorted(pairs, key=lambda pair: (pair.query_camid, pair.gallery_camid)))


def _scored_pairs(query: Embeddings, gallery: Embeddings, matches: Matches) -> NDArray[np.int64]:
    """Return the pairs of a query camera and a gallery camera that share a match, [P, 2].

    Raises:
        DataError: there are more than `MOST_PAIRS`.
    """
    (ours, row_camera), (theirs, column_camera) = (
        np.unique(side.camids, return_inverse=True) for side in (query, gallery)
    )
    found = np.unique(row_camera[matches.rows] * len(theirs) + column_camera[matches.columns])
    if len(found) > MOST_PAIRS:
        raise DataError(
            f"{len(ours)} query cameras and {len(theirs)} gallery cameras share matches in {len(found):,} pairs, more "
            f"than the {MOST_PAIRS:,} that are scored one by one: score the images of fewer cameras, or of groups of "
            "them under one number"
        )
    return np.stack((ours[found // len(theirs)], theirs[found % len(theirs)]), axis=1)


def single_shot(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    repeats: int = 100,
    seed: int = 0,
) -> SingleShot:
    """Score by the protocol of CUHK03 (Li et al., CVPR 2014): one random image per id is the gallery, `repeats` times.

    All queries meet the same gallery, but for their own id, of which one of the true matches is sampled. Ties count
    against the match; distances that single precision cannot tell apart are computed again in double precision.

    Raises:
        DataError: features or labels that cannot be compared, or no query with a match.
        UsageError: `repeats` is below 1.
    """
    if repeats < 1:
        raise UsageError(f"scores of {repeats} sampled galleries: choose 1 or more", argument="repeats")
    check_comparable(query, gallery)
    rule, matches = require_matches(query, gallery, cameras)
    ranks = np.array(list(_single_shot_ranks(query, gallery, (rule, matches), metric, (repeats, seed))))
    depth = np.bincount(np.minimum(ranks, DEPTH + 1).reshape(-1), minlength=DEPTH + 2)
    cmc = np.cumsum(depth[1 : DEPTH + 1]) / ranks.size
    return SingleShot(
        rank1=float(cmc[0]),
        rank5=float(cmc[4]),
        rank10=float(cmc[9]),
        rank20=float(cmc[19]),
        map=float((1 / ranks).mean()),
        rank1_deviation=float((ranks == 1).mean(axis=0).std()),
        repeats=repeats,
        queries=len(ranks),
        queries_skipped=len(rule.query_pids) - len(ranks),
        cmc=cmc,
    )


def _single_shot_ranks(
    query: Embeddings,
    gallery: Embeddings,
    who: tuple[Rule, Matches],
    metric: Metric,
    draws: tuple[int, int],
) -> Iterator[NDArray[np.int64]]:
    """Yield the rank of the match in every sampled gallery, int64 [repeats], for each query that has one."""
    rule, matches = who
    repeats, seed = draws
    images = np.flatnonzero(rule.gallery_pids != JUNK)
    images = images[np.argsort(rule.gallery_pids[images], kind="stable")]
    ids, begin, sizes = np.unique(rule.gallery_pids[images], return_index=True, return_counts=True)
    chance = np.random.default_rng(seed).random((repeats, len(ids)))
    sampled = images[begin + (chance * sizes).astype(np.int64)]
    for first, dist_bg in distance_blocks(query.vectors, gallery.vectors, metric):
        rows = prepare(query.vectors[first : first + len(dist_bg)], metric, "query", first)
        for i, dist_g in enumerate(dist_bg):
            true = matches.columns[matches.starts[first + i] : matches.starts[first + i + 1]]
            if not len(true):
                continue
            own = ids == rule.query_pids[first + i]
            match = true[(chance[:, own][:, 0] * len(true)).astype(np.int64)]
            squared_g = to_squares(dist_g.astype(np.float64), metric)
            one = Rows(rows.vectors[i : i + 1], rows.squares[i : i + 1])
            _settle(one, gallery, squared_g, match, sampled, metric)
            yield 1 + ((squared_g[sampled] <= squared_g[match][:, None]) & ~own).sum(axis=1)


def _settle(
    query: Rows,
    gallery: Embeddings,
    squared_g: NDArray[np.float64],
    match: NDArray[np.int64],
    sampled: NDArray[np.int64],
    metric: Metric,
) -> None:
    """Compute the distances of one query again, in place, where they may be on the other side of a match's.

    `match` and `sampled` are the gallery numbers of what was drawn in each repeat, [repeats] and [repeats, ids].
    """
    limit = squared_g[match]
    near = sampled[np.abs(squared_g[sampled] - limit[:, None]) <= doubt(query, limit)[:, None]]
    numbers = np.unique(np.concatenate((match, near)))
    squared_g[numbers] = pair_squares(query, gallery.vectors, np.zeros_like(numbers), numbers, metric)
