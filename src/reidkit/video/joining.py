"""Joining tracks into people, within and across cameras, by their features and by time.

Whoever is seen at the same time as somebody else is certainly another person. Such pairs are never joined, and their
similarities are those of impostors: they give a threshold for the very videos at hand, without a label.

Groups grow by constrained agglomerative clustering: of all pairs of groups that may be one person, the two with the
largest linkage are joined, as long as that is not below 0. The linkage is the mean over all pairs of their tracks of
similarity minus threshold (`average`), or the least of these (`complete`), so that one bad track, which is like two
people, does not make them one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import steps
from reidkit.metrics.verification import FEW, allowed_errors
from reidkit.terminal import counted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

Linkage: TypeAlias = Literal["average", "complete"]

UNKNOWN = -1
"""An id that nobody has confirmed, a camera or a clock that is not known."""

FAR = 0.02
"""The false accept rate of a threshold from the videos."""

LEAST_PAIRS = 20
"""Fewer pairs than this that are seen together give no threshold."""

LARGEST = 8192
"""Tracks that may be one person by way of each other, at most: their distances take 8 bytes for each pair."""

MOST_DOUBTS = 500
"""Pairs of people that are listed as doubtful, at most."""

_BLOCK = 512
_NEVER, _ALWAYS = 1e12, -3.0
"""Distances of tracks that must not, and that must be joined; others lie above -3."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tracks:
    """N tracks: what is compared of them.

    Attributes:
        features: float [N, D]; their cosines are compared.
        first: When each begins, in seconds of its clock, float64 [N]; `last`: when it ends.
        cameras: A number for each camera, int64 [N]; -1: not known.
        clocks: A number for each clock, int64 [N]: only times of one clock can be compared; -1: no time is known.
        ids: Ids that somebody has confirmed, int64 [N]; -1: not confirmed. Equal ones are always joined, others never.
        doubles: Pairs of tracks, int64 [P, 2], that are no two people for certain, though they are seen at the same
            time: the boxes of one lie in those of the other, as a detector finds one person twice.

    Raises:
        DataError: arrays that are not of one length; doubles that are no pairs of tracks; features that are zero or not
            finite; a track that ends before it begins.
    """

    features: NDArray[np.floating]
    first: Doubles
    last: Doubles
    cameras: Integers
    clocks: Integers
    ids: Integers
    doubles: Integers = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @staticmethod
    def of(  # noqa: PLR0913 (one for each column)
        features: ArrayLike,
        first: ArrayLike,
        last: ArrayLike,
        *,
        cameras: ArrayLike | None = None,
        clocks: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        doubles: ArrayLike | None = None,
    ) -> Tracks:
        """Return tracks of anything that makes such arrays; without `clocks` there is one, without `cameras` too."""
        count = len(np.asarray(first))
        zero, unknown = np.zeros(count, np.int64), np.full(count, UNKNOWN, np.int64)
        return Tracks(
            features=np.asarray(features, np.float64),
            first=np.asarray(first, np.float64),
            last=np.asarray(last, np.float64),
            cameras=zero if cameras is None else np.asarray(cameras, np.int64),
            clocks=zero if clocks is None else np.asarray(clocks, np.int64),
            ids=unknown if ids is None else np.asarray(ids, np.int64),
            doubles=np.asarray(() if doubles is None else doubles, np.int64).reshape(-1, 2),
        )

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in ("features", "first", "last", "cameras", "clocks", "ids")}
        if len(lengths) != 1 or self.features.ndim != 2:
            raise DataError(
                "tracks have one feature [D], one first and one last second each: pass arrays of one length"
            )
        if not np.isfinite(self.features).all() or not (np.linalg.norm(self.features, axis=1) > 0).all():
            raise DataError("a feature is zero, or holds a NaN or an infinity: leave that track out")
        if ((self.doubles < 0) | (self.doubles >= len(self.first))).any():
            raise DataError("doubles are pairs of numbers of tracks, from 0 up: pass such pairs")
        known = self.clocks != UNKNOWN
        if not (self.first[known] <= self.last[known]).all():
            raise DataError("a track ends before it begins, or has no time: give it the clock -1")

    def __len__(self) -> int:
        return len(self.first)


class Proposal(NamedTuple):
    """A threshold without labels: `pairs` that are seen together, of which `accepted` reach it; FAR is the rate."""

    threshold: float
    far: float
    pairs: int
    accepted: int

    @property
    def warning(self) -> str:
        """Why it should not be relied on; "" where nothing speaks against it."""
        if self.far * self.pairs >= FEW:
            return ""
        return (
            f"the threshold rests on {self.pairs} pairs of tracks that are seen together, of which "
            f"{self.far * self.pairs:.2g} would be accepted at a FAR of {self.far:g}: fewer than {FEW} are too few to "
            "rely on; more video gives more"
        )


class Doubt(NamedTuple):
    """Two people who may be one: numbers, their two most similar tracks, that similarity, and the linkage.

    `together`: tracks of both are seen at the same time, or confirmed as two ids, so that one track of them is wrong.
    """

    people: tuple[int, int]
    tracks: tuple[int, int]
    similarity: float
    linkage: float
    together: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Joined:
    """Who is who.

    Attributes:
        people: A number for each track, int64 [N], from 0 in the order in which people first appear among the tracks.
        doubts: People who are not joined, though a track of the one is like a track of the other; the likeliest first.
    """

    people: Integers
    doubts: tuple[Doubt, ...]


def together(tracks: Tracks, rows: slice, *, cameras_overlap: bool = False) -> NDArray[np.bool_]:
    """Return which tracks of `rows` and which others are certainly two people, bool [n, N].

    They are seen at the same time: by one camera or, unless `cameras_overlap`, by any two. A track and itself are not,
    nor are doubles.
    """
    everything = np.arange(len(tracks))
    return _apart(tracks, everything[rows], everything, cameras_overlap=cameras_overlap)


def _apart(tracks: Tracks, rows: Integers, columns: Integers, *, cameras_overlap: bool) -> NDArray[np.bool_]:
    """Return which tracks of `rows` and of `columns`, each of them once, are certainly two people, bool [n, m]."""
    first, last, clocks, cameras = (
        (values[rows, None], values[columns]) for values in (tracks.first, tracks.last, tracks.clocks, tracks.cameras)
    )
    apart = (first[0] < last[1]) & (first[1] < last[0])
    apart &= (clocks[0] == clocks[1]) & (clocks[1] != UNKNOWN)
    if cameras_overlap:
        apart &= (cameras[0] == cameras[1]) & (cameras[1] != UNKNOWN)
    apart &= rows[:, None] != columns
    # Where each track stands among the rows and the columns; -1: nowhere.
    place = np.full((2, len(tracks)), -1)
    place[0, rows], place[1, columns] = np.arange(len(rows)), np.arange(len(columns))
    one, other = np.concatenate((tracks.doubles, tracks.doubles[:, ::-1])).T
    row, column = place[0, one], place[1, other]
    here = (row >= 0) & (column >= 0)
    apart[row[here], column[here]] = False
    return np.asarray(apart)


def propose_threshold(tracks: Tracks, *, far: float = FAR, cameras_overlap: bool = False) -> Proposal:
    """Return the least similarity that at most `far` of all pairs of tracks that are seen together reach.

    Args:
        tracks: N tracks with their features and times.
        far: The fraction of these pairs, which are of two people, that may reach it.
        cameras_overlap: Two cameras may see one person at once, so that only pairs of one camera are of two people.

    Raises:
        DataError: fewer than 20 pairs are seen together.
        UsageError: a FAR that is not between 0 and 1.
    """
    unit = _unit(tracks.features)
    parts = [np.zeros(0)]
    for rows in steps(len(tracks), _BLOCK):
        later = np.arange(len(tracks)) > np.arange(len(tracks))[rows, None]
        parts.append((unit[rows] @ unit.T)[together(tracks, rows, cameras_overlap=cameras_overlap) & later])
    scores = np.sort(np.concatenate(parts))
    accepted = allowed_errors(far, len(scores))
    if len(scores) < LEAST_PAIRS:
        raise DataError(
            f"tracks that are seen at the same time make {counted(len(scores), 'pair')}, and a threshold needs "
            f"{LEAST_PAIRS}: give longer videos, a threshold, or a model that was calibrated",
            argument="threshold",
        )
    threshold = float(np.nextafter(scores[len(scores) - 1 - accepted], np.inf))
    return Proposal(threshold, far, len(scores), int((scores >= threshold).sum()))


def join(
    tracks: Tracks,
    threshold: float | NDArray[np.floating],
    *,
    linkage: Linkage = "average",
    cameras_overlap: bool = False,
) -> Joined:
    """Join tracks into people.

    It takes N^2 products of features, in blocks, and memory for the pairs at or above the threshold. Whatever is joined
    is connected by such pairs, so that the clustering is exact within each connected part.

    Args:
        tracks: The tracks.
        threshold: From which similarity on two of them show one person; or an array [C, C] for each two cameras.
        linkage: `average` or `complete`.
        cameras_overlap: Whether two cameras may see one person at the same time.

    Raises:
        DataError: more than 8,192 tracks could be one person by way of each other, as with too low a threshold.
        UsageError: no such linkage; a threshold that is no similarity.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if linkage not in ("average", "complete"):
        raise UsageError(f"there is no linkage {linkage}: choose average or complete", argument="linkage")
    known = _Known(tracks, np.asarray(threshold, np.float64), cameras_overlap)
    one, other = known.candidates()
    size = (len(tracks), len(tracks))
    _, parts = connected_components(coo_array((np.ones(len(one), np.int8), (one, other)), shape=size), directed=False)
    people = np.zeros(len(tracks), np.int64)
    count = 0
    # Parts of one track are that person alone; of the others, each by itself.
    order = np.argsort(parts, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1) if len(order) else []:
        labels = known.cluster(members, linkage) if len(members) > 1 else np.zeros(1, np.int64)
        people[members] = count + labels
        count += int(labels.max()) + 1
    people = _by_appearance(people)
    return Joined(people=people, doubts=tuple(known.doubts(people, one, other, linkage)))


class _Known:
    """What is known of pairs of tracks: similarity, threshold, and whether they may or must be one person."""

    def __init__(self, tracks: Tracks, threshold: Doubles, cameras_overlap: bool) -> None:
        if not (np.abs(threshold) <= 1).all() or threshold.ndim not in (0, 2):
            raise UsageError(
                "a threshold is a similarity from -1 to 1, or one for each two cameras: pass such numbers",
                argument="threshold",
            )
        self._tracks, self._threshold, self._overlap = tracks, threshold, cameras_overlap
        self._unit = _unit(tracks.features)

    def margins(self, rows: Integers, columns: Integers) -> Doubles:
        """Return similarity minus threshold, [n, m]."""
        return np.asarray(self._unit[rows] @ self._unit[columns].T - self._limits(rows, columns))

    def distances(self, rows: Integers, columns: Integers) -> Doubles:
        """Return threshold minus similarity [n, m], with `_NEVER` and `_ALWAYS` for pairs that are certain."""
        distances = -self.margins(rows, columns)
        apart = _apart(self._tracks, rows, columns, cameras_overlap=self._overlap)
        mine, theirs = self._tracks.ids[rows, None], self._tracks.ids[columns]
        both = (mine != UNKNOWN) & (theirs != UNKNOWN)
        distances[apart | both & (mine != theirs)] = _NEVER
        distances[both & (mine == theirs)] = _ALWAYS
        return distances

    def candidates(self) -> tuple[Integers, Integers]:
        """Return the pairs (i < j) that may be one person and whose similarity reaches the threshold."""
        everything = np.arange(len(self._tracks))
        ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for rows in steps(len(everything), _BLOCK):
            near = (self.distances(everything[rows], everything) <= 0) & (everything > everything[rows, None])
            one, other = np.nonzero(near)
            ones.append(one + rows.start)
            others.append(other)
        return np.concatenate(ones), np.concatenate(others)

    def cluster(self, members: Integers, linkage: Linkage) -> Integers:
        """Return the number of the group of each of these tracks, from 0.

        Means and maxima over pairs of which one must not be joined stay out of reach for ever.
        """
        from scipy.cluster.hierarchy import fcluster
        from scipy.cluster.hierarchy import linkage as agglomerate
        from scipy.spatial.distance import squareform

        if len(members) > LARGEST:
            raise DataError(
                f"{len(members):,} tracks could be one person by way of each other: raise the threshold, or join "
                f"videos in parts of at most {LARGEST:,}",
                argument="threshold",
            )
        # SciPy takes no negative distances.
        distances = self.distances(members, members) - _ALWAYS
        np.fill_diagonal(distances, 0.0)
        tree = agglomerate(squareform(distances, checks=False), linkage)
        return np.asarray(fcluster(tree, -_ALWAYS, "distance"), np.int64) - 1

    def doubts(self, people: Integers, one: Integers, other: Integers, linkage: Linkage) -> list[Doubt]:
        """Return the pairs of people of whom two tracks are similar, the most likely ones first."""
        differ = people[one] != people[other]
        one, other = one[differ], other[differ]
        similarity = np.einsum("pd,pd->p", self._unit[one], self._unit[other])
        pairs = np.sort(np.stack((people[one], people[other]), axis=1), axis=1)
        # Of each pair of people the most similar tracks, and of these pairs as many as anybody looks at.
        order = np.lexsort((-similarity, pairs[:, 1], pairs[:, 0]))
        best = order[np.r_[True, (np.diff(pairs[order], axis=0) != 0).any(axis=1)]] if len(order) else order
        best = best[np.argsort(-similarity[best], kind="stable")][:MOST_DOUBTS]
        found = []
        for at in best.tolist():
            first, second = pairs[at].tolist()
            mine, theirs = np.flatnonzero(people == first), np.flatnonzero(people == second)
            margins = self.margins(mine, theirs)
            value = float(margins.mean() if linkage == "average" else margins.min())
            apart = bool((self.distances(mine, theirs) == _NEVER).any())
            shown = (int(one[at]), int(other[at])) if people[one[at]] == first else (int(other[at]), int(one[at]))
            found.append(Doubt((first, second), shown, float(similarity[at]), value, apart))
        return sorted(found, key=lambda doubt: (-doubt.linkage, doubt.people))

    def _limits(self, rows: Integers, columns: Integers) -> Doubles | float:
        if not self._threshold.ndim:
            return float(self._threshold)
        limits = self._threshold[np.ix_(self._tracks.cameras[rows], self._tracks.cameras[columns])]
        return np.asarray(limits)


def _by_appearance(people: Integers) -> Integers:
    """Number people in the order in which they first appear."""
    _, first, numbers = np.unique(people, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return np.asarray(ranks[numbers.reshape(-1)])


def _unit(features: NDArray[np.floating]) -> Doubles:
    doubles = np.asarray(features, np.float64)
    return np.asarray(doubles / np.linalg.norm(doubles, axis=1, keepdims=True))
