"""Same person or not: what the calibration of a gallery's model says of each hit, by its similarity and its cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from reidkit.metrics.calibration_file import pair_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidkit.gallery.row import Row
    from reidkit.metrics.calibration_file import Calibration


class Decision(NamedTuple):
    """Whether a hit shows the same person, how probable that is, and by which threshold; all None if not calibrated."""

    probability: float | None = None
    same: bool | None = None
    threshold: float | None = None
    calibration: Literal["pair", "all"] | None = None


def decide(
    rows: list[Row], similarities: NDArray[np.float64], camera: str | None, known: Calibration | None
) -> list[Decision]:
    """Return the decision on each row: by the two cameras where these were calibrated, else by all pairs."""
    if known is None:
        return [Decision()] * len(rows)
    found = [Decision()] * len(rows)
    for theirs in dict.fromkeys(row.camera for row in rows):
        numbers = [number for number, row in enumerate(rows) if row.camera == theirs]
        pair = pair_of(known, camera, theirs)
        threshold = pair.threshold if pair else known.threshold()
        chances = (pair or known).probability(similarities[numbers]).tolist()
        for number, chance in zip(numbers, chances, strict=True):
            same = bool(similarities[number] >= threshold)
            found[number] = Decision(chance, same, threshold, "pair" if pair else "all")
    return found
