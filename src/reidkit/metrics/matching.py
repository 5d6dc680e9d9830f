"""True matches: which gallery images show the id of a query, and which are left out of its list."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import check_pair, gather, pair_squares, prepare, to_host
from reidkit.types import JUNK, Cameras, Embeddings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from reidkit.types import Dataset


MOST_MATCHES = 1 << 25
"""True matches of all queries together that are looked at: 33 million take 2 GB. Market-1501 has 51 thousand."""


class Labelled(Protocol):
    """Anything with ids and cameras: `Embeddings`, or `Labels` where there are no features."""

    @property
    def pids(self) -> NDArray[np.int64]:
        """Who is on it, int64 [N]; -1 is junk."""

    @property
    def camids(self) -> NDArray[np.int64]:
        """Which camera took it, int64 [N]; -1 is unknown."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Which image it is, or () where that is not known."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Ids and cameras of N images whose features are not at hand."""

    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Rule:
    """What may stand in a query's list: not junk, not its own id in its own place, and not its own image.

    A place is a camera or an image, as `Cameras` says. All are int64, [Q] or [G]. `own` [2, K] holds a query and a
    gallery number for each pair of one image with itself, both of one id.
    """

    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_places: NDArray[np.int64]
    gallery_places: NDArray[np.int64]
    own: NDArray[np.int64] = field(default_factory=lambda: np.empty((2, 0), np.int64))

    def listed(self, query: int) -> NDArray[np.int64]:
        """Return the numbers of the gallery images in the list of a query."""
        other = self.gallery_pids != self.query_pids[query]
        elsewhere = self.gallery_places != self.query_places[query]
        elsewhere[self.own[1, self.own[0] == query]] = False
        return np.flatnonzero((other | elsewhere) & (self.gallery_pids != JUNK))


@dataclass(frozen=True, eq=False)
class Matches:
    """The true matches of every query: `columns[starts[i]:starts[i + 1]]` are the numbers of those of query i."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The query of every match."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def make_rule(query: Labelled, gallery: Labelled, cameras: Cameras) -> Rule:
    """Make the rule that `cameras` names, for these images.

    Raises:
        DataError: labels that are not one whole number per image.
        UsageError: there is no such rule.
    """
    if cameras not in ("cross", "any"):
        raise UsageError(f"there is no rule {cameras} for cameras: choose cross or any")
    pids = _whole(query.pids, "query pids"), _whole(gallery.pids, "gallery pids")
    camids = _whole(query.camids, "query camids"), _whole(gallery.camids, "gallery camids")
    for ids, cams, what in zip(pids, camids, ("query", "gallery"), strict=True):
        if len(ids) != len(cams):
            raise DataError(f"the {what} has {len(ids)} pids and {len(cams)} camids: one of each per image is needed")
    own = find_own(query, gallery, pids)
    rule = Rule(*pids, *camids, own)
    return rule if cameras == "cross" else _without_places(rule)


def find_own(
    query: Labelled, gallery: Labelled, pids: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Find the pairs of an image of the query with itself in the gallery, [2, K]: one file under one id.

    A path alone does not make an image: crops of one frame may all be named after it, and differ in their ids.
    """
    if query is gallery and not query.paths:  # each row is itself, whatever it is called
        return np.tile(np.flatnonzero(pids[0] != JUNK), (2, 1))
    ours, theirs = (_files(side, ids, pids) for side, ids in zip((query, gallery), pids, strict=True))
    pairs = [(row, column) for key, rows in ours.items() for row in rows for column in theirs.get(key, ())]
    return np.array(sorted(set(pairs)), np.int64).reshape(-1, 2).T


def file_of(path: str, folders: dict[str, str]) -> tuple[object, bool]:
    """Return what all paths to one file have in common, by way of links too, and whether the file is there.

    `folders` keeps what the folders of paths are really called, for the next call.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (a `Path` takes three times as long, and there is one for each image)
    except (OSError, ValueError):  # an image in a shard, or a name from another machine
        return _real_path(path.replace("\0", ""), folders), False
    known = stat.S_ISREG(found.st_mode) and found.st_ino != 0
    return (found.st_dev, found.st_ino) if known else os.path.realpath(path), known


def _real_path(path: str, folders: dict[str, str]) -> str:
    """Return `os.path.realpath` of what is not there; links are followed once for each folder, and not each path."""
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    found = os.path.join(folders[folder], name)  # noqa: PTH118
    return os.path.realpath(path) if name in ("", os.curdir, os.pardir) or os.path.islink(found) else found  # noqa: PTH114


def _files(
    side: Labelled, ids: NDArray[np.int64], pids: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> dict[tuple[int, object], list[int]]:
    """The rows of each file and id, of ids on both sides; a name of several rows that is no file names nothing."""
    sources = _sources(side, ids)
    both = np.intersect1d(*pids)
    found: dict[tuple[int, object], list[int]] = {}
    files: set[object] = set()
    folders: dict[str, str] = {}
    for row in np.flatnonzero(np.isin(ids, both[both != JUNK])).tolist() if sources else ():
        for path in filter(None, sources[row]):
            file, there = file_of(path, folders)
            found.setdefault((int(ids[row]), file), []).append(row)
            files.update({file} if there else ())
    return {key: rows for key, rows in found.items() if len(rows) == 1 or key[1] in files}


def _sources(side: Labelled, pids: NDArray[np.int64]) -> tuple[tuple[str, ...], ...]:
    """Return the paths that each row was made of: one, or those of all images that a query was merged from."""
    sources: tuple[tuple[str, ...], ...] = getattr(side, "sources", ()) or tuple((path,) for path in side.paths)
    return sources if len(sources) == len(pids) else ()


def find_matches(rule: Rule) -> Matches:
    """Find the true matches of every query; a query that is junk has none.

    Raises:
        DataError: there are more than can be held.
    """
    # Sorted by id, the gallery images of one query's id lie side by side, from `begin` to `end`.
    order = np.argsort(rule.gallery_pids, kind="stable")
    ordered = rule.gallery_pids[order]
    begin, end = np.searchsorted(ordered, rule.query_pids), np.searchsorted(ordered, rule.query_pids, "right")
    count = np.where(rule.query_pids == JUNK, 0, end - begin)
    if count.sum() > MOST_MATCHES:
        raise DataError(
            f"{np.count_nonzero(count):,} queries and the gallery images of their ids make {count.sum():,} pairs, more "
            f"than the {MOST_MATCHES:,} that fit in memory: score fewer queries at a time, each part against the whole "
            "gallery"
        )
    # All pairs of one id, query by query: entry p is number p - cumsum(count before it) of its query's images.
    rows = np.repeat(np.arange(len(count)), count)
    columns = order[np.arange(len(rows)) + np.repeat(begin - np.cumsum(count) + count, count)]
    # Left out are pairs of one place, and pairs of an image with itself.
    kept = rule.query_places[rows] != rule.gallery_places[columns]
    if rule.own.size:
        width = len(rule.gallery_pids)
        kept &= ~np.isin(rows * width + columns, rule.own[0] * width + rule.own[1])
    counts = np.bincount(rows[kept], minlength=len(count))
    return Matches(np.concatenate(([0], np.cumsum(counts))), columns[kept])


def require_matches(query: Labelled, gallery: Labelled, cameras: Cameras) -> tuple[Rule, Matches]:
    """Return the rule that `cameras` names, and the true matches by it; refuse images of which no query has any.

    Raises:
        DataError: as `make_rule` and `find_matches`; or no query has a true match, with the cause and the remedy.
        UsageError: there is no such rule.
    """
    rule = make_rule(query, gallery, cameras)
    matches = find_matches(rule)
    if len(matches.columns):
        return rule, matches
    for side, pids in (("query", rule.query_pids), ("gallery", rule.gallery_pids)):
        if len(pids) and (pids == JUNK).all():
            raise DataError(
                f"no image of the {side} has an id (every pid is -1): embed a whole data set, or one split of it "
                f"(`reidkit embed MODEL DIR --split {side}`), or write pids into the file"
            )
    if not set(rule.query_pids.tolist()) & set(rule.gallery_pids.tolist()) - {JUNK}:
        raise DataError("query and gallery share no id: their pids must number the same ids in the same way")
    if cameras == "cross" and len(find_matches(_without_places(rule)).columns):
        raise DataError(
            "every true match is from its query's own camera, where it does not count: "
            "pass cameras='any' for ids seen by one camera, or by unknown ones",
            argument="cameras",
        )
    raise DataError("every true match is the query's own image: the gallery needs a second image of some query's id")


def _without_places(rule: Rule) -> Rule:
    """Return the rule under `any`."""
    places = np.full_like(rule.query_places, -2), np.full_like(rule.gallery_places, -1)
    return Rule(rule.query_pids, rule.gallery_pids, *places, rule.own)


def _whole(values: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{what} are {array.dtype} of shape {list(array.shape)}: one whole number per image is needed")
    if array.size and array.min() < JUNK:
        raise DataError(f"{what} hold {array.min()}: they are counted from 0, and -1 is junk, or an unknown camera")
    return array.astype(np.int64)


def check_comparable(query: Embeddings, gallery: Embeddings) -> None:
    """Refuse features of different sizes or models, and labels that are not one per image or of two data sets."""
    for side, what in ((query, "query"), (gallery, "gallery")):
        if not isinstance(side, Embeddings):
            raise UsageError(f"the {what} is a {type(side).__name__}: pass Embeddings(vectors, pids, camids)")
    check_pair(query.vectors, gallery.vectors)
    for side, what in ((query, "query"), (gallery, "gallery")):
        if len(side.pids) != len(side.vectors):
            raise DataError(
                f"the {what} has {len(side.vectors)} features and {len(side.pids)} pids: each image needs both"
            )
        if any(named and len(named) != len(side.vectors) for named in (side.paths, side.sources)):
            raise DataError(
                f"the {what} has {len(side.vectors)} features and {len(side.paths or side.sources)} paths: leave them "
                "out or name each image"
            )
    query.names.check_agree(gallery.names)
    if query.model and gallery.model and query.model != gallery.model:
        raise DataError(
            f"the query features are of model {query.model} and the gallery's of {gallery.model}: "
            "features of two models cannot be compared, embed one of them again"
        )


def subset(embeddings: Embeddings, rows: NDArray[np.int64]) -> Embeddings:
    """Take some of the images, in the order of `rows`."""
    paths = tuple(embeddings.paths[row] for row in rows) if embeddings.paths else ()
    sources = tuple(embeddings.sources[row] for row in rows) if embeddings.sources else ()
    vectors = gather(embeddings.vectors, rows)
    pids, camids, model = embeddings.pids[rows], embeddings.camids[rows], embeddings.model
    return Embeddings(vectors, pids, camids, model, paths, sources, names=embeddings.names)


def with_own_known(query: Embeddings, gallery: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Name the rows where query and gallery are one and have no paths: subsets still know which image is which."""
    if query is not gallery or query.paths or query.sources:
        return query, gallery
    named = replace(query, sources=tuple((f"row {row}",) for row in range(len(query.pids))))
    return named, named


SAME = 1e-4
"""Features nearer than this part of their length are of one image: batches of other sizes round to about 1e-6."""

ALIKE_ROWS = 1024
"""Features that are looked at together for whether all are one."""


@dataclass(frozen=True)
class Copies:
    """Queries whose image is in the gallery, of `queries` that are no junk.

    `own`: as the same file, which is left out of the query's list. `identical`: in a copy that counts as a true match.
    `all_alike`: what the features of all images of several ids are, where they are one: "zero" or "equal"; else "".
    """

    queries: int
    own: int
    identical: int
    all_alike: str = ""

    def as_json(self) -> dict[str, int]:
        """Return the counts, by the names that commands print."""
        return {"queries_with_own_image": self.own, "queries_with_identical_image": self.identical}

    def warnings(self) -> tuple[str, ...]:
        """Return what a reader of the scores must know, a sentence each."""
        said = []
        if self.all_alike:
            said.append(
                f"all features are {self.all_alike}, so that no image can be told from another and scores mean "
                "nothing: look at what the network returns, or train it again at a lower learning rate"
            )
        if self.own:
            said.append(
                f"{self.own} of {self.queries} queries lie in the gallery as the same file, which is left out of their "
                "own lists"
            )
        if self.identical:
            said.append(
                f"{self.identical} of {self.queries} queries have an identical image in the gallery, which counts as a "
                "true match: take the copies out of the gallery, or the scores are too high"
            )
        return tuple(said)


def find_copies(query: Embeddings, gallery: Embeddings, *, cameras: Cameras = "cross") -> Copies:
    """Count the queries whose own image is in the gallery; only pairs of one id are looked at.

    Raises:
        DataError: labels that are not one whole number per image.
        UsageError: there is no such rule for cameras.
    """
    rule = make_rule(query, gallery, cameras)
    matches = find_matches(rule)
    rows = np.unique(_nearly_equal(query, gallery, matches.rows, matches.columns))
    # Where all images have one feature, whichever id they show, it is the network that makes them so.
    strangers = np.array([int(np.argmax(rule.gallery_pids != rule.query_pids[row])) for row in rows.tolist()], np.int64)
    other = rule.gallery_pids[strangers] != rule.query_pids[rows]
    alike = _nearly_equal(query, gallery, rows[other], strangers[other])
    return Copies(
        queries=int((rule.query_pids != JUNK).sum()),
        own=len(np.unique(rule.own[0])),
        identical=len(np.setdiff1d(rows, alike)),
        all_alike=_all_alike(query, gallery) if len(np.union1d(rule.query_pids, rule.gallery_pids)) > 1 else "",
    )


def _all_alike(query: Embeddings, gallery: Embeddings) -> str:
    """Return what all features are, "zero" or, but for rounding, "equal"; "" where one differs."""
    first = to_host(query.vectors[:1])[0]
    for vectors in (query.vectors, gallery.vectors):
        for start in range(0, len(vectors), ALIKE_ROWS):  # of most networks the first rows differ already
            off = (to_host(vectors[start : start + ALIKE_ROWS]) - first).astype(np.float64)
            if np.square(off).sum(1).max() > SAME**2 * np.square(first, dtype=np.float64).sum():
                return ""
    return "equal" if first.any() else "zero"


def _nearly_equal(
    query: Embeddings, gallery: Embeddings, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the `rows` of those pairs of features that are equal but for rounding."""
    features = prepare(query.vectors, "euclidean", "query")
    squared = pair_squares(features, gallery.vectors, rows, columns, "euclidean")
    return rows[squared <= SAME**2 * features.squares[rows]]


def require_evaluable(dataset: Dataset, cameras: Cameras) -> None:
    """Refuse a data set of which no score can come; no image is opened.

    Raises:
        DataError: there are no queries or no gallery, or no query has a true match by the rule `cameras`.
    """
    for part, samples in (("query", dataset.query), ("gallery", dataset.gallery)):
        if not samples:
            raise DataError(
                f"the data set {dataset.name} has no {part} images to evaluate with: give one that has, or make a "
                "query and a gallery of held-out ids by `reidkit split DIR OUT`"
            )
    query, gallery = (
        Labels(pids=part.pids, camids=part.camids, paths=part.paths) for part in (dataset.query, dataset.gallery)
    )
    require_matches(query, gallery, cameras)
