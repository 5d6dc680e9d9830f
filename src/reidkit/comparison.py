"""Two images: how similar they are, and whether they show the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.encoder import as_image_encoder
from reidkit.metrics.distances import pair_squares, prepare
from reidkit.metrics.pairs import similarity

if TYPE_CHECKING:
    from reidkit.encoder import Encoder, Image
    from reidkit.metrics.calibration_file import Calibration


@dataclass(frozen=True)
class Comparison:
    """How alike two images are.

    `similarity` is the cosine of their features. `same` says whether it reaches `threshold`, and `probability` how
    probable it is that both show one person. `false_accepts` is the part of pairs of two ids that the threshold takes
    for one, and `false_rejects` of pairs of one id that it does not, as calibrated. None where nothing is known of the
    model's similarities.
    """

    similarity: float
    same: bool | None = None
    probability: float | None = None
    threshold: float | None = None
    false_accepts: float | None = None
    false_rejects: float | None = None

    def __str__(self) -> str:
        """The comparison as a sentence."""
        if self.threshold is None:
            return f"similarity {self.similarity:.3f}; no threshold is known: calibrate the model, or pass one"
        side, result = ("at least", "the same person") if self.same else ("below", "not accepted as the same person")
        chance = "" if self.probability is None else f"; probability of one person {100 * self.probability:.1f} %"
        text = f"{result}: similarity {self.similarity:.3f}, {side} the threshold {self.threshold:.3f}{chance}"
        if self.false_accepts is None or self.false_rejects is None:
            return text
        return (
            f"{text}; at this threshold {100 * self.false_accepts:.3g} % of pairs of two ids are accepted and "
            f"{100 * self.false_rejects:.3g} % of one id are not, as calibrated"
        )


def compare(model: Encoder, a: Image, b: Image, *, threshold: float | None = None) -> Comparison:
    """Compare two images: how similar they are, and whether they show the same person.

    The threshold and the probability come from the `calibration.json` beside the model, and features are made as for
    that. Without one, and without a `threshold`, the similarity alone is known.

    Args:
        model: What `load_model` returns, or any other `Encoder`.
        a: A path, an image of Pillow, or RGB pixels uint8 [H, W, 3].
        b: The other image.
        threshold: The similarity from which both show the same person; None: the calibrated one.

    Raises:
        DataError: an image cannot be read; the calibration is damaged or another model's.
    """
    model = as_image_encoder(model)
    known = model.calibration
    metric = known.settings.metric if known else "cosine"
    vectors = model.embed([a, b], feature=known.feature if known else "f_i", flip=bool(known and known.flip))
    first = np.zeros(1, np.int64)
    alike = float(similarity(pair_squares(prepare(vectors[:1], metric, "a"), vectors[1:], first, first, metric))[0])
    limit = known.threshold() if known and threshold is None else threshold
    chance = float(known.same_person(alike)) if known else None
    if limit is None or known is None:
        return Comparison(alike, None if limit is None else alike >= limit, chance, limit)
    accepts, rejects = _error_rates(known, limit)
    return Comparison(alike, alike >= limit, chance, limit, accepts, rejects)


def _error_rates(known: Calibration, threshold: float) -> tuple[float, float]:
    """Return the rates of false accepts and false rejects at a threshold, between the points of the calibrated ROC."""
    points = [*known.curve, (known.chosen.threshold, *_chosen(known))]
    if known.settings.metric == "cosine":  # all is accepted at -1, and nothing above 1
        points += [(-1.0, 1.0, 1.0), (np.nextafter(1, 2), 0.0, 0.0)]
    at, accepts, trues = np.array(sorted(points)).T
    return float(np.interp(threshold, at, accepts)), 1 - float(np.interp(threshold, at, trues))


def _chosen(known: Calibration) -> tuple[float, float]:
    return known.chosen.false_accepts / known.impostors, known.chosen.tpr
