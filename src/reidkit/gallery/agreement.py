"""A gallery beside another one that is taken for the truth: rows, columns, features, and which hits a search finds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.gallery.filters import EVERYTHING, Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.protocol import Gallery, Info
    from reidkit.gallery.query import Hit

PAGE = 1000
SAMPLED = 1000
TOPS = (1, 10, 100)
EQUAL = 1e-6
"""Similarities that differ by less are those of rows that may stand for each other."""


@dataclass(frozen=True)
class Agreement:
    """How a gallery compares with another one, which is taken for the truth.

    Attributes:
        missing: Rows that only the other one has.
        extra: Rows that only this one has.
        different: Of the `sampled` rows, those with other columns or another feature.
        recall: For each filter and number of hits k, how many of the first k hits are as similar as the k-th one of the
            other gallery, as a part of k.
        queries: How many rows were searched for, each by its feature.
        sampled: How many rows were looked at.
        passed: The part of the other one's rows that passes each filter, by its name.
    """

    missing: int
    extra: int
    different: int
    recall: dict[str, dict[int, float]]
    queries: int = 0
    sampled: int = 0
    passed: dict[str, float] = field(default_factory=dict)

    def least(self) -> float:
        """Return the lowest recall of all searches; 1 where there was none."""
        return min((value for each in self.recall.values() for value in each.values()), default=1.0)


def compare_galleries(gallery: Gallery, truth: Gallery, *, queries: int = 100) -> Agreement:
    """Compare a gallery with another one: which rows it has, and which of the other's hits it finds.

    Queries are rows of both, drawn at random, which are not among their own hits. They are searched for without a
    filter, and with those of `filters_of`.
    """
    ours, theirs = set(gallery.keys()), set(truth.keys())
    shared = sorted(ours & theirs)
    rng = np.random.default_rng(0)  # the same queries each time
    sampled = [shared[at] for at in rng.permutation(len(shared))[: max(SAMPLED, queries)].tolist()]
    different = _different(gallery, truth, sampled)
    asked = sampled[:queries]
    filters = filters_of(truth.info()) if asked else {}
    vectors = truth.vectors(asked) if asked else np.zeros((0, truth.dim), np.float32)
    recall = {}
    for name, matching in filters.items():
        mine, other = (_others(each, vectors, asked, matching) for each in (gallery, truth))
        recall[name] = {top: recall_at(mine, other, top) for top in TOPS}
    passed = {name: truth.count(matching) / len(theirs) for name, matching in filters.items()}
    return Agreement(len(theirs - ours), len(ours - theirs), different, recall, len(asked), len(sampled), passed)


def filters_of(info: Info) -> dict[str, Filter]:
    """Return the filters that two galleries are compared with, by name.

    They are none at all, the camera with the most rows, the one with the fewest, and the middle 1/16 of the time.
    """
    named = sorted((camera for camera in info.cameras if camera.name), key=lambda camera: camera.rows)
    found = {"all": EVERYTHING}
    if named:
        found["one camera"] = Filter(cameras=[named[-1].name or ""])
    if len(named) > 1:
        found["smallest camera"] = Filter(cameras=[named[0].name or ""])
    if info.first and info.last and info.first < info.last:
        middle, step = info.first + (info.last - info.first) / 2, (info.last - info.first) / 32
        found["1/16 of the time"] = Filter(since=middle - step, until=middle + step)
    return found


def _others(gallery: Gallery, vectors: NDArray[np.float32], keys: Sequence[str], matching: Filter) -> list[list[Hit]]:
    """Search for rows by their features; the hits of each but the row itself."""
    found = gallery.search_vectors(vectors, top=max(TOPS) + 1, filter=matching)
    return [[hit for hit in hits if hit.key != key][: max(TOPS)] for hits, key in zip(found, keys, strict=True)]


def recall_at(mine: Sequence[Sequence[Hit]], other: Sequence[Sequence[Hit]], top: int) -> float:
    """Return the mean over queries of the part of the other's first `top` hits that are among ours.

    A hit that is as similar as the last of them counts, as equal ones may be in any order.
    """
    found = []
    for ours, theirs in zip(mine, other, strict=True):
        if wanted := theirs[:top]:
            least = wanted[-1].similarity - EQUAL
            found.append(sum(hit.similarity >= least for hit in ours[: len(wanted)]) / len(wanted))
    return float(np.mean(found)) if found else 1.0


def _different(gallery: Gallery, truth: Gallery, keys: Sequence[str]) -> int:
    """Count the rows of which columns or features differ."""
    count = 0
    for first in range(0, len(keys), PAGE):
        some = keys[first : first + PAGE]
        mine, other = (
            {row.key: replace(row, id=0, added=None) for row in each.rows(Filter(keys=some), limit=PAGE).rows}
            for each in (gallery, truth)
        )
        equal = (gallery.vectors(some) == truth.vectors(some)).all(axis=1)
        count += sum(mine.get(key) != other.get(key) or not same for key, same in zip(some, equal, strict=True))
    return count
