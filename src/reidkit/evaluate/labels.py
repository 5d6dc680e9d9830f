"""Who is who: which gallery images are right for a query, and which are left out of its list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from reidkit.types import JUNK, DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Cameras = Literal["cross", "any"]
"""`cross`: a gallery image of the query's own id and camera is left out of its list, as in all benchmarks; two unknown
cameras are taken for the same one. `any`: only the query's own image is left out, known by its path; where either side
has no paths, nothing is."""


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
    """What may stand in a query's list: not junk, and not its own person in its own place.

    A place is a camera or an image, as `Cameras` says. All are int64, [Q] or [G].
    """

    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_places: NDArray[np.int64]
    gallery_places: NDArray[np.int64]

    def listed(self, query: int) -> NDArray[np.int64]:
        """The numbers of the gallery images in the list of a query."""
        other = self.gallery_pids != self.query_pids[query]
        elsewhere = self.gallery_places != self.query_places[query]
        return np.flatnonzero((other | elsewhere) & (self.gallery_pids != JUNK))


@dataclass(frozen=True, eq=False)
class Matches:
    """The right images of every query: `columns[starts[i]:starts[i + 1]]` are the numbers of those of query i."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The query of every match."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def make_rule(query: Labelled, gallery: Labelled, cameras: Cameras) -> Rule:
    """The rule that `cameras` names, for these images.

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
    if cameras == "cross":
        return Rule(*pids, *camids)
    if len(query.paths) != len(pids[0]) or len(gallery.paths) != len(pids[1]):
        return Rule(*pids, np.full_like(pids[0], -2), np.full_like(pids[1], -1))
    known = {path: number for number, path in enumerate(dict.fromkeys((*query.paths, *gallery.paths)))}
    places = (np.array([known[path] for path in paths], np.int64) for paths in (query.paths, gallery.paths))
    return Rule(*pids, *places)


def find_matches(rule: Rule) -> Matches:
    """The right images of every query; a query that is junk has none."""
    order = np.argsort(rule.gallery_pids, kind="stable")
    ordered = rule.gallery_pids[order]
    begin, end = np.searchsorted(ordered, rule.query_pids), np.searchsorted(ordered, rule.query_pids, "right")
    count = np.where(rule.query_pids == JUNK, 0, end - begin)
    rows = np.repeat(np.arange(len(count)), count)
    columns = order[np.arange(len(rows)) + np.repeat(begin - np.cumsum(count) + count, count)]
    kept = rule.query_places[rows] != rule.gallery_places[columns]
    counts = np.bincount(rows[kept], minlength=len(count))
    return Matches(np.concatenate(([0], np.cumsum(counts))), columns[kept])


def require_matches(matches: Matches, rule: Rule, cameras: Cameras) -> None:
    """Refuses images of which nothing can be said, because no query has a right one.

    Raises:
        DataError: with the cause and the remedy.
    """
    if len(matches.columns):
        return
    if not set(rule.query_pids.tolist()) & set(rule.gallery_pids.tolist()) - {JUNK}:
        raise DataError("query and gallery share no id: their pids must number the same people in the same way")
    if cameras == "cross":
        raise DataError(
            "every right gallery image is from its query's own camera, where it does not count: "
            "use --cameras any for people seen by one camera, or by unknown ones"
        )
    raise DataError("every right gallery image is the query itself: the gallery needs a second image of somebody")


def _whole(values: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{what} are {array.dtype} of shape {list(array.shape)}: one whole number per image is needed")
    return array.astype(np.int64)
