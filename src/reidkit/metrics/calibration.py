"""Choose a threshold for a model from features with labels, and measure how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError
from reidkit.metrics.calibration_file import Calibration, CameraThreshold, HeldOut, Rate, Settings
from reidkit.metrics.identification import OpenSet, open_set
from reidkit.metrics.intervals import Bootstrap, pair_intervals
from reidkit.metrics.matching import find_copies, subset, with_own_known
from reidkit.metrics.pairs import collect_pairs
from reidkit.metrics.probability import Counts, assess, fit
from reidkit.metrics.verification import (
    FARS,
    FEW,
    Operating,
    allowed_errors,
    operating_point,
    roc,
    verify_pairs,
)
from reidkit.types import JUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.metrics.intervals import Interval
    from reidkit.metrics.pair_tables import Tables
    from reidkit.metrics.pairs import Pairs
    from reidkit.metrics.probability import Isotonic, Logistic, Method
    from reidkit.types import Cameras, Embeddings, Metric

LEAST_GENUINE = 50
LEAST_IMPOSTORS = 1000
"""A camera pair with fewer pairs, or with fewer than 10 / FAR impostor pairs, has no threshold of its own."""

LARGEST_FAR = 0.1
"""No threshold is of use that accepts more than this part of all impostor pairs."""

MEASURED = round(FEW / LARGEST_FAR)
"""Impostor pairs that it takes to measure that FAR."""

LEAST_IDS = 20
POINTS = 100


def calibrate(  # noqa: PLR0913 (each a plain argument)
    query: Embeddings,
    gallery: Embeddings,
    *,
    far: float = 1e-3,
    method: Method = "isotonic",
    prior: float = 0.5,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    seed: int = 0,
    data: str = "",
    feature: str = "after",
    flip: bool = False,
) -> Calibration:
    """Choose a threshold and probabilities from features with labels, and measure how far they can be trusted.

    Args:
        query: features with ids and cameras, of ids that the model was not trained on.
        gallery: likewise.
        far: the false accept rate that the threshold keeps.
        method: how a probability is made of a similarity, `isotonic` or `logistic`.
        prior: the part of the compared pairs that are expected to show one id where the probability is used.
        metric: `cosine` or `euclidean`.
        cameras: `cross` leaves out all pairs of one camera, `any` only an image paired with itself.
        seed: for intervals, and for which ids are held out.
        data: the name of the data set, to be stored.
        feature: which feature it is, to be stored.
        flip: whether the features of mirror images were averaged in, to be stored.

    Raises:
        DataError: features or labels that cannot be compared; no genuine pair, or no impostor pair.
        UsageError: a FAR or a prior that is not between 0 and 1.
    """
    # Every pair once: thresholds, curve, intervals and probabilities all follow from these counts.
    settings = Settings(far=far, method=method, prior=prior, metric=metric, cameras=cameras, seed=seed)
    query, gallery = with_own_known(query, gallery)
    pairs = collect_pairs(query, gallery, metric=settings.metric, cameras=settings.cameras)
    copies = find_copies(query, gallery, cameras=settings.cameras)
    result, chosen = verify_pairs(pairs), operating_point(pairs, settings.far)
    spread = pair_intervals(pairs.tables, chosen.threshold, (settings.far, *FARS), Bootstrap(seed=settings.seed))
    unknown = _open_set(query, gallery, settings)
    curve = roc(pairs, POINTS)
    return Calibration(
        model=query.model,
        data=data,
        feature=feature,
        flip=flip,
        settings=settings,
        queries=int((np.asarray(query.pids) != JUNK).sum()),
        gallery=int((np.asarray(gallery.pids) != JUNK).sum()),
        people=_ids(pairs.tables),
        genuine=result.genuine,
        impostors=result.impostors,
        chosen=_rate(chosen, spread.tpr[0]),
        far_interval=spread.far_at_threshold,
        eer=result.eer,
        eer_threshold=result.eer_threshold,
        eer_interval=spread.eer,
        auc=result.auc,
        d_prime=result.d_prime if math.isfinite(result.d_prime) else None,
        rates=tuple(_rate(point, interval) for point, interval in zip(result.operating, spread.tpr[1:], strict=True)),
        open_set=unknown,
        probability=_probability(pairs.tables, settings),
        held_out=held_out(query, gallery, settings),
        camera_pairs=tuple(
            replace(
                pair,
                query_camera=query.names.camid(pair.query_camid),
                gallery_camera=gallery.names.camid(pair.gallery_camid),
            )
            for pair in _camera_thresholds(pairs.tables, settings)
        ),
        curve=tuple(zip(curve.threshold.tolist(), curve.far.tolist(), curve.tpr.tolist(), strict=True)),
        warnings=(*_warnings(pairs, settings, unknown), *copies.warnings()),
    )


def held_out(query: Embeddings, gallery: Embeddings, settings: Settings) -> HeldOut | None:
    """Measure the probabilities on ids that they were not made from: one half of all ids against the other.

    Which half an id is in is decided by the seed. None where a half has no genuine or no impostor pair.
    """
    ids = np.setdiff1d(np.union1d(query.pids, gallery.pids), [JUNK])
    shuffled = np.random.default_rng(settings.seed).permutation(ids)
    first, second = np.array_split(shuffled, 2)
    try:
        probability = _probability(_among(query, gallery, first, settings), settings)
        tables = _among(query, gallery, second, settings)
    except DataError:
        return None
    counts = _counts(tables)
    return HeldOut(
        quality=assess(probability, counts, settings.prior),
        people=_ids(tables),
        genuine=int(counts.genuine.sum()),
        impostors=int(counts.impostor.sum()),
    )


def _among(query: Embeddings, gallery: Embeddings, ids: NDArray[np.int64], settings: Settings) -> Tables:
    """Count the pairs in which both images are of these ids."""
    asked = subset(query, np.flatnonzero(np.isin(query.pids, ids)))
    images = replace(gallery, pids=np.where(np.isin(gallery.pids, ids), gallery.pids, JUNK))
    return collect_pairs(asked, images, metric=settings.metric, cameras=settings.cameras).tables


def _counts(tables: Tables) -> Counts:
    return Counts(tables.means, tables.genuine.sum(axis=0), tables.impostor_total)


def _probability(tables: Tables, settings: Settings) -> Isotonic | Logistic:
    return fit(_counts(tables), settings.method, settings.prior)


def _ids(tables: Tables) -> int:
    """Count the ids that have a genuine pair."""
    return int((tables.genuine.sum(axis=1) > 0).sum())


def _rate(point: Operating, interval: Interval | None) -> Rate:
    return Rate(
        far=point.far,
        threshold=point.threshold,
        tpr=point.tpr,
        interval=interval,
        false_accepts=point.false_accepts,
    )


def _open_set(query: Embeddings, gallery: Embeddings, settings: Settings) -> OpenSet | None:
    """Measure open-set identification; None where only one id has a true match, so that none can be held out."""
    try:
        return open_set(query, gallery, metric=settings.metric, cameras=settings.cameras, seed=settings.seed)
    except DataError:
        return None


def _camera_thresholds(tables: Tables, settings: Settings) -> Iterator[CameraThreshold]:
    """Yield the camera pairs with enough pairs, each with the lowest end of a bin above which the FAR is kept."""
    least = max(LEAST_IMPOSTORS, FEW / settings.far)
    for (ours, theirs), genuine, impostor in zip(
        tables.camera_pairs.tolist(), tables.camera_genuine, tables.camera_impostor, strict=True
    ):
        total, others = int(genuine.sum()), int(impostor.sum())
        if total < LEAST_GENUINE or others < least:
            continue
        accepted = np.concatenate(([0], np.cumsum(impostor)))
        last = int(np.searchsorted(accepted, allowed_errors(settings.far, others), "right")) - 1
        yield CameraThreshold(
            query_camid=ours,
            gallery_camid=theirs,
            genuine=total,
            impostors=others,
            # Pairs at the end itself are in the next bin, and have to stay out in single precision, too.
            threshold=float(np.nextafter(np.float32(tables.ends[last]), np.float32(np.inf))),
            tpr=float(genuine[:last].sum() / total),
            far=float(accepted[last] / others),
            probability=fit(Counts(tables.means, genuine, impostor), settings.method, settings.prior),
        )


def _remedy(impostors: int) -> str:
    """What makes `FEW` false accepts of so many impostor pairs: a FAR, rounded up to one digit, or more images."""
    digit = 10.0 ** math.floor(math.log10(FEW / impostors))
    far = math.ceil(FEW / impostors / digit * (1 - 1e-12)) * digit
    if far > LARGEST_FAR:
        return (
            f"give images of more ids, as no FAR below {LARGEST_FAR:g} can be measured on fewer than {MEASURED} pairs"
        )
    return f"choose a FAR of {far:.1g} or more, or give images of more ids"


def _warnings(pairs: Pairs, settings: Settings, unknown: OpenSet | None) -> Iterator[str]:
    """Yield a sentence about each number that rests on too little."""
    expected = settings.far * pairs.impostors
    if expected < FEW:
        yield (
            f"at a FAR of {settings.far:g} only {expected:.2g} of the {pairs.impostors} impostor pairs would be "
            f"accepted: fewer than {FEW} are too few to rely on; {_remedy(pairs.impostors)}"
        )
    ids = _ids(pairs.tables)
    if ids < LEAST_IDS:
        yield f"only {ids} ids have a genuine pair: intervals from fewer than {LEAST_IDS} are too narrow"
    if unknown is None:
        yield "open-set rates need two ids with a true match: there is one"
    elif unknown.unknown * unknown.rates[0].false_alarm_rate < FEW:
        yield (
            f"the open-set rate at {unknown.rates[0].false_alarm_rate:g} rests on {unknown.unknown:.0f} queries whose "
            f"id is not in the gallery: fewer than {FEW} false alarms are expected"
        )
