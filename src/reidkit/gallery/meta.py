"""What a gallery that is kept says of itself: whose features it holds, and what their similarities mean."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reidkit.errors import DataError, UsageError
from reidkit.gallery.base_gallery import calibration_of
from reidkit.metrics.calibration_file import calibration_of_text, calibration_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.encoder import Encoder
    from reidkit.metrics.calibration_file import Calibration

_log = logging.getLogger(__name__)

LARGEST_DIM = 65_536
"""Above this a sum of products of eight bits could leave 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a gallery says of itself; `created` in microseconds since 1970."""

    uuid: str
    model: str
    dim: int
    flip: bool
    created: int
    calibration: Calibration | None


def new_meta(model: Encoder | None, fingerprint: str, dim: int, created: int) -> dict[str, str]:
    """Return what a new gallery says of itself: for a model, or for features of `fingerprint` with `dim` numbers.

    Raises:
        UsageError: no length of features.
    """
    known = calibration_of(model)
    length = model.dim if model else dim
    if not 0 < length <= LARGEST_DIM:
        raise UsageError(f"features of {length} numbers: pass a model, or dim from 1 to {LARGEST_DIM}", argument="dim")
    return {
        "uuid": str(uuid.uuid4()),
        "model": model.fingerprint if model else fingerprint,
        "dim": str(length),
        "flip": str(int(bool(known and known.flip))),
        "created": str(created),
        "calibration": calibration_text(known),
    }


def parse_meta(texts: Mapping[str, str], place: str, encoder: Encoder | None) -> Meta:
    """Read what the gallery at `place` says of itself; with a model, whose calibration is then the newer one.

    Raises:
        DataError: it is damaged, or of another model than `encoder`.
    """
    try:
        meta = Meta(
            uuid=texts["uuid"],
            model=texts["model"],
            dim=int(texts["dim"]),
            flip=texts["flip"] == "1",
            created=int(texts["created"]),
            calibration=calibration_of_text(texts["calibration"]),
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{place} is damaged: what it says of itself cannot be read ({error})") from None
    if encoder is None:
        return meta
    if encoder.fingerprint != meta.model or encoder.dim != meta.dim:
        raise DataError(
            f"{place} holds features of the model {meta.model or '(not known)'} with {meta.dim} numbers, and not of "
            f"{encoder.fingerprint} with {encoder.dim}, which cannot be compared with them: open it with its own "
            "model, or make another gallery",
            argument="model",
        )
    known = calibration_of(encoder)
    if known and known.flip == meta.flip:
        return Meta(**{**vars(meta), "calibration": known})
    if known:
        _log.warning(
            "%s: the model was calibrated %s --flip, and the gallery's features are made %s it, so that its "
            "thresholds are not used: calibrate again, or make another gallery",
            place,
            *(("with", "without") if known.flip else ("without", "with")),
        )
    return meta
