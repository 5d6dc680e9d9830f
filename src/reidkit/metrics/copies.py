"""Queries whose own image lies in the gallery: the same file, which is left out, or a copy, which can only be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.metrics.distances import gather
from reidkit.metrics.matching import Cameras, find_matches, make_rule
from reidkit.types import JUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.types import Embeddings

    Integers = NDArray[np.int64]

SAME = 1e-4
"""Features nearer than this part of their length are of one image: batches of other sizes round to about 1e-6."""

FIRST = 16
"""So many numbers of two features are compared before the rest is read."""

AT_ONCE = 4096
"""Pairs of features that are gathered at a time."""


@dataclass(frozen=True)
class Copies:
    """Queries whose image is in the gallery, of `queries` that are no junk.

    `own`: as the same file, which is left out of the query's list. `identical`: in a copy that counts as a true match.
    """

    queries: int
    own: int
    identical: int

    def as_json(self) -> dict[str, int]:
        """The counts, by the names that commands print."""
        return {"queries_with_own_image": self.own, "queries_with_identical_image": self.identical}

    def warnings(self) -> tuple[str, ...]:
        """What a reader of the scores has to know, a sentence each."""
        said = []
        if self.own:
            said.append(
                f"{self.own} of {self.queries} queries lie in the gallery as the same file, which is left out of their "
                "own lists"
            )
        if self.identical:
            said.append(
                f"{self.identical} of {self.queries} queries have an identical image in the gallery, which counts as a "
                "true match: take the copies out of the gallery, or the scores say too much good"
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
    # Where all images have one feature, whoever they show, it is the network that makes them so.
    strangers = np.array([int(np.argmax(rule.gallery_pids != rule.query_pids[row])) for row in rows.tolist()], np.int64)
    other = rule.gallery_pids[strangers] != rule.query_pids[rows]
    alike = _nearly_equal(query, gallery, rows[other], strangers[other])
    return Copies(
        queries=int((rule.query_pids != JUNK).sum()),
        own=len(np.unique(rule.own[0])),
        identical=len(np.setdiff1d(rows, alike)),
    )


def _nearly_equal(query: Embeddings, gallery: Embeddings, rows: Integers, columns: Integers) -> Integers:
    """The `rows` of pairs of features that are equal but for rounding; most differ in their first numbers already."""
    asked, place = np.unique(rows, return_inverse=True)
    limit = SAME**2 * np.square(gather(query.vectors, asked), dtype=np.float64).sum(axis=1)[place]
    for width in (FIRST, None):
        ours, theirs = query.vectors[:, :width], gallery.vectors[:, :width]
        near = [np.empty(0, bool)]
        for part in (slice(first, first + AT_ONCE) for first in range(0, len(rows), AT_ONCE)):
            apart = gather(ours, rows[part]) - gather(theirs, columns[part])
            near.append(np.square(apart, dtype=np.float64).sum(axis=1) <= limit[part])
        equal = np.concatenate(near)
        rows, columns, limit = rows[equal], columns[equal], limit[equal]
    return rows
