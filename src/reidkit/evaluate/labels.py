"""Who is who: which gallery images are right for a query, and which are left out of its list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from reidkit.types import JUNK, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from reidkit.types import Embeddings

Cameras = Literal["cross", "any"]
"""`cross`: a gallery image of the query's own id and camera is left out of its list, as all benchmarks do; two unknown
cameras are taken for the same one. `any`: only the query's own image is left out, known by its path."""


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
class Matches:
    """The right gallery images of every query, those of query i at `starts[i]:starts[i + 1]`.

    `columns`: their numbers in the gallery. `query_pids`, `gallery_pids`: the labels, checked.
    `removed`: whether a gallery image of the query's own id is left out of its list, by their places.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_places: NDArray[np.int64]
    gallery_places: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The query of every match."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def left_out(self, query: int) -> NDArray[np.bool_]:
        """Which gallery images are not in the list of a query: junk, and its own person in its own place."""
        person, place = self.query_pids[query], self.query_places[query]
        own = np.logical_and(self.gallery_pids == person, self.gallery_places == place)
        return np.logical_or(own, self.gallery_pids == JUNK)


def find_matches(query: Labelled, gallery: Labelled, cameras: Cameras) -> Matches:
    """The right gallery images of every query under the rule `cameras`.

    Raises:
        DataError: labels that are not whole numbers of one length, or no query that has a right image.
    """
    query_pids, gallery_pids = integers(query.pids, "query pids"), integers(gallery.pids, "gallery pids")
    query_places, gallery_places = _places(query, gallery, cameras)
    for pids, places, what in ((query_pids, query_places, "query"), (gallery_pids, gallery_places, "gallery")):
        if len(pids) != len(places):
            raise DataError(f"the {what} has {len(pids)} pids and {len(places)} camids: one each per image is needed")
    order = np.argsort(gallery_pids, kind="stable")
    begin, end = (np.searchsorted(gallery_pids[order], query_pids, side) for side in ("left", "right"))
    end = np.where(query_pids == JUNK, begin, end)
    rows = np.repeat(np.arange(len(query_pids)), end - begin)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
    columns = order[begin[rows] + within]
    kept = query_places[rows] != gallery_places[columns]
    if not kept.any():
        _explain(len(rows) > 0, cameras)
    starts = np.concatenate(([0], np.cumsum(np.bincount(rows[kept], minlength=len(query_pids)))))
    return Matches(starts, columns[kept], query_pids, gallery_pids, query_places, gallery_places)


def integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    """Labels as int64 [N].

    Raises:
        DataError: they are no whole numbers, or not in one row.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{what} are {array.dtype} of shape {list(array.shape)}: one whole number per image is needed")
    return array.astype(np.int64)


def check_lengths(embeddings: Embeddings, what: str) -> None:
    """Refuses labels that are not as many as the features."""
    for name, labels in (("pids", embeddings.pids), ("camids", embeddings.camids)):
        if len(labels) != len(embeddings.vectors):
            raise DataError(
                f"the {what} has {len(embeddings.vectors)} features and {len(labels)} {name}: one per image is needed"
            )


def _places(query: Labelled, gallery: Labelled, cameras: Cameras) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers that are equal where an image of the query's own id is to be left out."""
    camids = integers(query.camids, "query camids"), integers(gallery.camids, "gallery camids")
    if cameras == "cross":
        return camids
    if len(query.paths) != len(camids[0]) or len(gallery.paths) != len(camids[1]):
        return np.full_like(camids[0], -2), np.full_like(camids[1], -1)
    known = {path: number for number, path in enumerate(dict.fromkeys((*query.paths, *gallery.paths)))}
    one, other = ([known[path] for path in paths] for paths in (query.paths, gallery.paths))
    return np.array(one, np.int64), np.array(other, np.int64)


def _explain(shared: bool, cameras: Cameras) -> None:
    if not shared:
        raise DataError("query and gallery share no id: their pids must number the same people in the same way")
    if cameras == "cross":
        raise DataError(
            "every right gallery image is from its query's own camera, where it does not count: "
            "use --cameras any for people seen by one camera, or by unknown ones"
        )
    raise DataError("every right gallery image is its query itself: the gallery needs a second image of somebody")
