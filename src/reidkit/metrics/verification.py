"""One id or two: error rates of a threshold, over all pairs of a query and a gallery image that are compared.

The false accept rate (FAR; ISO/IEC 19795-1 says false match rate) at a threshold t is the part of the impostor pairs
whose similarity is t or more, the true accept rate (TPR) the part of the genuine pairs; 1 - TPR is the false reject
rate (FNR, false non-match rate). What a similarity is, which pairs count, and how exact the counts are is said in
`pairs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_number
from reidkit.errors import UsageError
from reidkit.metrics.pairs import Pairs, collect_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.types import Cameras, Embeddings, Metric

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]


FARS = (1e-4, 1e-3, 1e-2, 1e-1)
FEW = 10
"""Where fewer false accepts than this are expected, a threshold rests on too few pairs to be relied on."""


@dataclass(frozen=True)
class Operating:
    """The threshold at which the most genuine pairs are accepted while the FAR is at most `far`.

    `false_accepts` impostor pairs are accepted; the FAR that is measured is `false_accepts` / impostor pairs.
    """

    far: float
    threshold: float
    tpr: float
    false_accepts: int


@dataclass(frozen=True, eq=False)
class Curve:
    """Error rates at falling thresholds, all float64 [P]: the ROC is `tpr` over `far`, the DET `fnr` over `far`."""

    threshold: Doubles = field(repr=False)
    far: Doubles = field(repr=False)
    tpr: Doubles = field(repr=False)

    @property
    def fnr(self) -> Doubles:
        """The part of the genuine pairs that is rejected."""
        return 1 - self.tpr


@dataclass(frozen=True)
class Verification:
    """How well pairs of one id are told from pairs of two.

    `auc`: the chance that a genuine pair is more similar than an impostor pair, a tie counted half: the area under the
    ROC. `eer`: the error rate where FAR and FNR are equal, on straight lines between the points of the ROC;
    `eer_threshold`: the threshold of the point at or after it. `d_prime`: the difference of the mean similarities over
    the root of the mean of both variances; infinite or NaN where nothing varies.
    """

    genuine: int
    impostors: int
    auc: float
    eer: float
    eer_threshold: float
    d_prime: float
    operating: tuple[Operating, ...]


def verify(
    query: Embeddings,
    gallery: Embeddings,
    *,
    fars: Sequence[float] = FARS,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
) -> Verification:
    """Measure how well pairs of one id are told from pairs of two, over all pairs of a query and a gallery image.

    Args:
        query: features with ids and cameras.
        gallery: likewise.
        fars: the false accept rates at which the true accept rate and its threshold are wanted.
        metric: `cosine` or `euclidean`.
        cameras: `cross` leaves out all pairs of one camera, `any` only an image paired with itself.

    Raises:
        DataError: features or labels that cannot be compared; no genuine pair, or no impostor pair.
        UsageError: a FAR that is not between 0 and 1.
    """
    fars = checked_rates(fars, "fars")
    return verify_pairs(collect_pairs(query, gallery, metric=metric, cameras=cameras), fars)


def verify_pairs(pairs: Pairs, fars: Sequence[float] = FARS) -> Verification:
    """Compute the scores of verification, with the operating points at `fars`.

    Raises:
        UsageError: a FAR that is not between 0 and 1.
    """
    eer, threshold = _equal_errors(pairs)
    beaten = (pairs.above.sum(dtype=np.float64) + pairs.reached.sum(dtype=np.float64)) / 2
    return Verification(
        genuine=len(pairs.genuine),
        impostors=pairs.impostors,
        auc=float(1 - beaten / len(pairs.genuine) / pairs.impostors),
        eer=eer,
        eer_threshold=threshold,
        d_prime=_d_prime(pairs),
        operating=tuple(operating_point(pairs, far) for far in fars),
    )


def operating_point(pairs: Pairs, far: float) -> Operating:
    """Find the threshold for a FAR: the similarity of the last genuine pair that can be accepted.

    Where not even the first can be, the threshold is just above all pairs.

    Raises:
        UsageError: `far` is not between 0 and 1.
    """
    allowed = allowed_errors(far, pairs.impostors)
    accepted = int(np.searchsorted(pairs.reached, allowed, "right"))
    if accepted == 0:
        return Operating(far, float(np.nextafter(max(pairs.genuine[0], pairs.closest), np.inf)), 0.0, 0)
    last = accepted - 1
    return Operating(far, float(pairs.genuine[last]), accepted / len(pairs.genuine), int(pairs.reached[last]))


def allowed_errors(far: float, trials: int) -> int:
    """Count how many of so many trials may fail at a rate of `far`; rounding in the product does not lose one.

    Raises:
        UsageError: `far` is not between 0 and 1.
    """
    if not 0 < far < 1:
        raise UsageError(f"a false accept rate of {far:g} cannot be asked for: give one between 0 and 1, as 1e-3")
    return int(far * trials * (1 + 1e-12))


def checked_rates(rates: Sequence[float], argument: str) -> tuple[float, ...]:
    """Return rates of errors, each between 0 and 1, before anything is compared.

    Raises:
        UsageError: one is not, or they are no list.
    """
    if isinstance(rates, str) or not isinstance(rates, Iterable):
        raise UsageError(f"{argument} is {rates!r}: pass a list, as [0.01, 0.1]", argument=argument)
    found = tuple(check_number(rate, argument) for rate in rates)
    for rate in found:
        allowed_errors(rate, 0)
    return found


def roc(pairs: Pairs, points: int | None = None) -> Curve:
    """Compute the ROC at the genuine pairs, most similar first; `points` of them that show the whole, or all."""
    last = _last_of_ties(pairs.genuine)
    if points is not None and points < len(last):
        # Half of the points evenly in TPR and half evenly in the logarithm of the FAR: both ends of the curve matter.
        even = np.linspace(0, len(last) - 1, points // 2).astype(np.int64)
        fars = np.geomspace(1 / pairs.impostors, 1, points - len(even))
        steep = np.searchsorted(pairs.reached[last], fars * pairs.impostors, "right") - 1
        last = last[np.unique(np.concatenate((even, steep[steep >= 0])))]
    return Curve(pairs.genuine[last], pairs.reached[last] / pairs.impostors, (last + 1) / len(pairs.genuine))


def _last_of_ties(falling: Doubles) -> NDArray[np.int64]:
    """Return the index of the last of each run of equal values."""
    return np.flatnonzero(np.append(np.diff(falling) != 0, [True]))


def _equal_errors(pairs: Pairs) -> tuple[float, float]:
    """Return the EER and its threshold: where FAR - FNR, which rises from -1 to 1 along the ROC, is zero."""
    last = _last_of_ties(pairs.genuine)
    far = np.stack((pairs.above[last], pairs.reached[last]), axis=1).reshape(-1) / pairs.impostors
    tpr = np.repeat(np.concatenate(([0.0], (last + 1) / len(pairs.genuine))), 2)[1:-1]
    gap = np.concatenate(([-1.0], far + tpr - 1))
    far = np.concatenate(([0.0], far))
    end = int(np.argmax(gap >= 0))
    share = gap[end - 1] / (gap[end - 1] - gap[end])
    return float(far[end - 1] + share * (far[end] - far[end - 1])), float(pairs.genuine[last[(end - 1) // 2]])


def _d_prime(pairs: Pairs) -> float:
    spread = np.sqrt((pairs.genuine.var() + pairs.impostor_variance) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((pairs.genuine.mean() - pairs.impostor_mean) / spread)
