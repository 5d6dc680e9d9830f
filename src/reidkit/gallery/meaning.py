"""What a similarity means in a gallery whose model is calibrated: how probable one person is, and whether it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from reidkit.metrics.calibration_file import pair_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidkit.gallery.row import Row
    from reidkit.metrics.calibration_file import Calibration


class Meaning(NamedTuple):
    """What a similarity means; all None where nothing is calibrated."""

    probability: float | None = None
    same: bool | None = None
    threshold: float | None = None
    calibration: Literal["pair", "all"] | None = None


def meanings(
    rows: list[Row], similarities: NDArray[np.float64], camera: str | None, known: Calibration | None
) -> list[Meaning]:
    """Return what similarities mean: by the two cameras where they are calibrated, else by all."""
    if known is None:
        return [Meaning()] * len(rows)
    found = [Meaning()] * len(rows)
    for theirs in dict.fromkeys(row.camera for row in rows):
        numbers = [number for number, row in enumerate(rows) if row.camera == theirs]
        pair = pair_of(known, camera, theirs)
        threshold = pair.threshold if pair else known.threshold()
        chances = (pair or known).probability(similarities[numbers]).tolist()
        for number, chance in zip(numbers, chances, strict=True):
            same = bool(similarities[number] >= threshold)
            found[number] = Meaning(chance, same, threshold, "pair" if pair else "all")
    return found
