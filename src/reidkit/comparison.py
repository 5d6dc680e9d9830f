"""The threshold of "the same person": chosen on a data set by `calibrate`, and applied to two images by `compare`."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from reidkit import metrics
from reidkit.arguments import check_number
from reidkit.data.overlap import compare_with_model
from reidkit.encoder import as_image_encoder
from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.evaluation import embed_dataset, open_dataset, with_changes
from reidkit.metrics.calibration_file import Settings, calibration_path, load_calibration, save_calibration
from reidkit.metrics.distances import pair_squares, prepare
from reidkit.metrics.matching import require_evaluable
from reidkit.metrics.pairs import similarity
from reidkit.terminal import chance_words
from reidkit.types import Sample

if TYPE_CHECKING:
    from typing import Unpack

    from reidkit.encoder import Encoder, Image, InferenceOptions
    from reidkit.evaluation import Changes, EvaluationProtocol
    from reidkit.metrics.calibration_file import Calibration
    from reidkit.types import Dataset

log = logging.getLogger(__name__)

_UNKNOWN: dict[str, Any] = {"trained_on": None, "warnings": ()}

_STORED = {"f_i": "after", "f_t": "before"}
"""What a calibration's file calls a feature."""


def calibrate(  # noqa: PLR0913
    model: Encoder,
    dataset: Dataset | str | os.PathLike[str],
    *,
    far: float = 1e-3,
    method: Literal["isotonic", "logistic"] = "isotonic",
    prior: float = 0.5,
    seed: int = 0,
    allow_training_ids: bool = False,
    out: str | os.PathLike[str] | None = None,
    **changes: Unpack[Changes],
) -> Calibration:
    """Choose the threshold of "the same person" for a false accept rate, and store it beside the model.

    Args:
        model: What `load_model` returns, or any other `Encoder`.
        dataset: A data set with a query and a gallery, of ids that the model was not trained on.
        far: The false accept rate: of the pairs of two ids, the part that the threshold accepts.
        method: How a probability is made of a similarity.
        prior: The probability of the same id before the images are seen.
        seed: For intervals and for which ids are held out.
        allow_training_ids: Store a threshold measured on ids that the model was trained on.
        out: The file to write; None: `calibration.json` beside the model, or none for a model that is in no file.
        changes: As for `evaluate`.

    Raises:
        DataError: features or labels that cannot be compared; ids that the model was trained on; the file cannot be
            written.
        UsageError: a rate or a prior that is not between 0 and 1; an option that there is not.
    """
    protocol, options = with_changes(None, None, changes)
    settings = Settings(far=far, method=method, prior=prior, seed=seed, **protocol.comparing)
    done = run_calibration(
        model, open_dataset(dataset), settings, protocol, options, allow_training_ids=allow_training_ids, out=out
    )
    return done.calibration


@dataclass(frozen=True, kw_only=True)
class CalibrationRun:
    """A calibration, the file that it was written to (None: none), and the seconds of each stage.

    `trained_on` is what query and gallery share with the images that the model was trained on, as JSON; None where
    that is not known.
    """

    calibration: Calibration
    path: Path | None
    trained_on: dict[str, Any] | None
    seconds: dict[str, float]


def run_calibration(  # noqa: PLR0913
    model: Encoder,
    dataset: Dataset,
    settings: Settings,
    protocol: EvaluationProtocol,
    options: InferenceOptions,
    *,
    allow_training_ids: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> CalibrationRun:
    """Do what `calibrate` does, and return the facts around it, too.

    Raises:
        DataError: as `calibrate`.
    """
    # All that can be refused is refused before any image is read.
    model = as_image_encoder(model)
    path = Path(out) if out is not None else model.path and calibration_path(model.path)
    if path and (not os.access(path.parent, os.W_OK) or path.is_dir()):
        raise DataError(f"{path} cannot be written: name another file as out", argument="out")
    require_evaluable(dataset, protocol.cameras)
    trained = compare_with_model(model.path, dataset) if model.path else _UNKNOWN
    if not allow_training_ids:
        refuse_training_ids(trained, dataset.name)
    # Features first, then threshold and probabilities from them alone.
    started = time.perf_counter()
    query, gallery = embed_dataset(model, dataset, protocol, options)
    embedded = time.perf_counter()
    origin: dict[str, Any] = {"data": dataset.name, "feature": _STORED[protocol.feature], "flip": protocol.flip}
    measured = metrics.calibrate(query, gallery, **asdict(settings), **origin)
    measured = replace(measured, warnings=(*trained["warnings"], *measured.warnings))
    seconds = {"embed": embedded - started, "calibrate": time.perf_counter() - embedded}
    if path:
        replaces_another(path, model.fingerprint)
        save_calibration(path, measured)
    return CalibrationRun(calibration=measured, path=path, trained_on=trained["trained_on"], seconds=seconds)


def replaces_another(path: Path, fingerprint: str) -> None:
    """Log that the calibration of another model, or a damaged one, is about to be replaced, where that is so."""
    try:
        load_calibration(path, fingerprint)
    except MissingFileError:
        return
    except DataError as error:
        log.info("replaced: %s", error)


def refuse_training_ids(trained: dict[str, Any], data: str) -> None:
    """Refuse ids that the model was trained on: it tells them apart far better than it will tell others.

    `trained` is what `compare_with_model` returns, `data` the name of the data set.

    Raises:
        DataError: there are such ids.
    """
    shared = trained["trained_on"]
    if shared and shared["ids"]:
        raise DataError(
            f"{shared['ids']} ids of {data}'s query and gallery are ids that the model was trained on, and a threshold "
            "from them would promise too much: give a data set of other ids, or pass allow_training_ids=True",
            argument="allow_training_ids",
        )


# Two images.


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
        chance = chance_words(self.probability, 1)
        text = f"{result}: similarity {self.similarity:.3f}, {side} the threshold {self.threshold:.3f}"
        text += f"; probability of one person {chance}" if chance else ""
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
        UsageError: the threshold is no similarity that two images can have.
        DataError: an image cannot be read; the calibration is damaged or another model's.
    """
    model = as_image_encoder(model)
    for image, name in ((a, "a"), (b, "b")):
        if isinstance(image, Sample):
            raise UsageError(f"{name} is a sample: pass its path, {name}.path", argument=name)
    threshold = None if threshold is None else check_number(threshold, "threshold")
    known = model.calibration
    metric = known.settings.metric if known else "cosine"
    if threshold is not None and metric == "cosine" and not -1 <= threshold <= 1:
        raise UsageError(
            f"the threshold {threshold:g} is no cosine: pass a similarity from -1 to 1", argument="threshold"
        )
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
