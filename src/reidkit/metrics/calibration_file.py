"""`calibration.json` beside a model: thresholds and probabilities, and what they were measured on."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidkit import strict_json
from reidkit.arguments import check_number, check_whole
from reidkit.atomic import NO_ROOM, atomic_write, not_written
from reidkit.errors import DataError, MissingFileError
from reidkit.metrics.identification import OpenSet
from reidkit.metrics.intervals import Interval
from reidkit.metrics.probability import Isotonic, Logistic, Method, Quality, at_prior, check_prior
from reidkit.metrics.verification import FEW, allowed_errors
from reidkit.model_files import beside
from reidkit.terminal import counted
from reidkit.types import Cameras, Metric

NAME = "calibration.json"

Camera = int | str | None
"""A camid, or what the camera is called; None for any."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a calibration is asked for: the FAR of its threshold, and how probabilities are made and pairs compared.

    Raises:
        UsageError: a FAR or a prior that is not between 0 and 1, or a seed that is none.
    """

    far: float = 1e-3
    method: Method = "isotonic"
    prior: float = 0.5
    metric: Metric = "cosine"
    cameras: Cameras = "cross"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("far", "prior"):  # those of NumPy are in no JSON
            object.__setattr__(self, name, check_number(getattr(self, name), name))
        object.__setattr__(self, "seed", check_whole(self.seed, "seed"))
        allowed_errors(self.far, 0)
        check_prior(self.prior)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A threshold of `similarity`, the FAR asked for, and what was measured at it; `interval` is of the TPR."""

    far: float
    threshold: float
    tpr: float
    interval: Interval | None
    false_accepts: int


@dataclass(frozen=True, kw_only=True)
class CameraThreshold:
    """The threshold for queries of one camera in the gallery of another, its measured rates, and the probability.

    `query_camera` and `gallery_camera` are what the cameras are called: their numbers, where they have no names.
    """

    query_camid: int
    gallery_camid: int
    query_camera: str = ""
    gallery_camera: str = ""
    genuine: int
    impostors: int
    threshold: float
    tpr: float
    far: float
    probability: Isotonic | Logistic


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How good probabilities are that were made from one half of the ids, on the pairs of the other half."""

    quality: Quality
    people: int
    genuine: int
    impostors: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Thresholds and probabilities of one model on one data set.

    `model`: the fingerprint of the weights; `data`: the data set's name; `feature` and `flip`: how features were made.
    `chosen`: the threshold at the FAR of `settings`; `far_interval`: the interval of the FAR at that threshold.
    `curve`: points (threshold, FAR, TPR) of the ROC. `probability`: at the prior of `settings`. `camera_pairs`: those
    with enough pairs to have a threshold of their own. `d_prime` is None where similarities do not vary.
    """

    format: Literal["reidkit/calibration/1", "reidkit/calibration/2"] = "reidkit/calibration/2"
    model: str
    data: str
    feature: str
    flip: bool
    settings: Settings
    queries: int
    gallery: int
    people: int
    genuine: int
    impostors: int
    chosen: Rate
    far_interval: Interval | None
    eer: float
    eer_threshold: float
    eer_interval: Interval | None
    auc: float
    d_prime: float | None
    rates: tuple[Rate, ...]
    open_set: OpenSet | None
    probability: Isotonic | Logistic
    held_out: HeldOut | None
    camera_pairs: tuple[CameraThreshold, ...]
    curve: tuple[tuple[float, float, float], ...]
    warnings: tuple[str, ...]

    def threshold(self, query_camid: Camera = None, gallery_camid: Camera = None) -> float:
        """Return the similarity from which a pair is accepted: of these two cameras where they have one, else of all.

        A camera is given by its camid, or by its name as text.
        """
        pair = pair_of(self, query_camid, gallery_camid)
        return pair.threshold if pair else self.chosen.threshold

    def strangers(self) -> str:
        """Say how often two people reach the threshold, as far as pairs of them were measured: of `FEW` errors on."""
        measured = FEW / self.impostors
        if self.settings.far >= measured:
            return f"about 1 false match in {1 / self.settings.far:,.0f} strangers"
        if measured <= 0.1:
            return f"about 1 false match in {1 / measured:,.0f} strangers, or fewer"
        return (
            f"how often strangers reach it is not known: only {counted(self.impostors, 'pair')} of them were measured"
        )

    def same_person(
        self,
        similarity: ArrayLike,
        query_camid: Camera = None,
        gallery_camid: Camera = None,
        prior: float | None = None,
    ) -> NDArray[np.float64]:
        """The probability that pairs of these similarities show one id each, at `prior` or that of `settings`.

        Raises:
            UsageError: a prior that is not between 0 and 1.
        """
        if prior is not None:
            check_prior(prior)
        pair = pair_of(self, query_camid, gallery_camid)
        chance = (pair or self).probability(similarity)
        return chance if prior is None else at_prior(chance, self.settings.prior, prior)


def pair_of(known: Calibration, query: Camera, gallery: Camera) -> CameraThreshold | None:
    """Return what was measured of queries of one camera in the gallery of another; None where it was not, apart.

    A camera is given by its camid, or as text by its name or its number.
    """
    for pair in known.camera_pairs:
        ours = _is_called(query, pair.query_camid, pair.query_camera)
        if ours and _is_called(gallery, pair.gallery_camid, pair.gallery_camera):
            return pair
    return None


def _is_called(camera: Camera, camid: int, name: str) -> bool:
    return camera != "" and camera in (str(camid), name) if isinstance(camera, str) else camera == camid


def calibration_path(model: Path) -> Path:
    """Return where the calibration of a model is kept (see `types.beside`)."""
    return beside(model, NAME)


def to_json(calibration: Calibration) -> dict[str, Any]:
    """Return the calibration as plain JSON values, in the order of its fields."""
    return cast("dict[str, Any]", json.loads(json.dumps(asdict(calibration))))


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration by an atomic write.

    Raises:
        DataError: the file cannot be written.
    """
    content = f"{calibration_text(calibration)}\n".encode()
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise not_written(path, error, "another file") from None
        raise DataError(
            f"{path} cannot be written ({error.strerror}): name another file as out", argument="out"
        ) from None


def load_calibration(folder: Path, fingerprint: str) -> Calibration:
    """Read the calibration of the model with this fingerprint from a folder, or from a file.

    Raises:
        DataError: there is none, it is damaged, or it is another model's.
    """
    path = folder / NAME if folder.is_dir() else folder
    try:
        return read_calibration(path.read_bytes(), str(path), fingerprint)
    except FileNotFoundError:
        raise MissingFileError(f"{path} is not there: make it with `reidkit calibrate`") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def read_calibration(text: bytes, where: str, fingerprint: str) -> Calibration:
    """Read the calibration of the model with this fingerprint; `where` is how messages call the text.

    Raises:
        DataError: it is damaged, or another model's.
    """
    try:
        calibration: Calibration = strict_json.fit(strict_json.parse(text), Calibration)
    except strict_json.JsonError as error:
        raise DataError(f"{where} is no calibration ({error}): run `reidkit calibrate` again") from None
    if calibration.model != fingerprint:
        raise DataError(
            f"{where} is of the model {calibration.model} and not of {fingerprint}, whose similarities mean other "
            "things: run `reidkit calibrate` for this one"
        )
    return _with_own_numbers(calibration)


def _with_own_numbers(calibration: Calibration) -> Calibration:
    """The calibration with the data set's own numbers of cameras, from which those of format 1 could differ by one."""
    if calibration.format == Calibration.format:
        return calibration
    lower = counted_lower(calibration.data)
    pairs = tuple(
        replace(pair, query_camid=pair.query_camid + lower, gallery_camid=pair.gallery_camid + lower)
        for pair in calibration.camera_pairs
    )
    return replace(calibration, format=Calibration.format, camera_pairs=pairs)


def calibration_text(known: Calibration | None) -> str:
    """Return a calibration as JSON, "" for none."""
    return "" if known is None else json.dumps(to_json(known), allow_nan=False)


def calibration_of_text(text: str) -> Calibration | None:
    """Return a calibration of JSON; None of "".

    Raises:
        ValueError: it is none.
    """
    if not text:
        return None
    found: Calibration = strict_json.fit(strict_json.parse(text), Calibration)
    return found


_ONCE_FROM_0 = ("market1501", "synthetic", "dukemtmc", "msmt17", "veri776", "cuhk03")


def counted_lower(data: str) -> int:
    """Return how much lower than its own numbers the first version counted the cameras of the data set of this name.

    Camera `c1` of Market-1501 had the camid 0 then, while `c1` of own images had 1. Files of that time are still read.
    """
    return int(data.startswith(_ONCE_FROM_0))
