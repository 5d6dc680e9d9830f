"""The images that a run was begun with, when some of them cannot be read any more."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError
from reidkit.types import as_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.data.sources import ImageSource
    from reidkit.types import Sample


class WithReplacements:
    """All of `samples` but those that were left out when the run began; an `ImageSource`.

    The order of a run's batches is a function of its list of images, so the list must stay. In the place of an image
    that `source` has lost since stands the next one of the same person; one that was mended since stays out.

    Raises:
        DataError: nobody can stand in, since no image of the person can be read.
    """

    def __init__(self, source: ImageSource, samples: Sequence[Sample], left_out: Sequence[int]) -> None:
        self.kept = np.setdiff1d(np.arange(len(samples)), np.asarray(left_out, dtype=np.int64))
        self.samples = as_samples(samples).take(self.kept)
        self.size = source.size
        self._source = source
        self.lost = np.setdiff1d(self.kept, source.kept)
        """Where the images stand in `samples` that others stand in for, int64 [L], rising."""
        row_of = np.full(len(samples), -1)
        row_of[source.kept] = np.arange(len(source))
        row_of[self.lost] = [row_of[i] for i in _stand_ins(self.lost, np.intersect1d(self.kept, source.kept), samples)]
        self._rows = row_of[self.kept]

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """What the source has for them (see `ImageSource`)."""
        return self._source.rows(self._rows[indices])


def _stand_ins(lost: NDArray[np.int64], whole: NDArray[np.int64], samples: Sequence[Sample]) -> list[int]:
    """For each lost image the next whole one of its person in the list, which begins anew at its end."""
    of_person: dict[int, list[int]] = defaultdict(list)
    for i in whole.tolist():
        of_person[samples[i].pid].append(i)
    found = []
    for i in lost.tolist():
        others = of_person[samples[i].pid]
        if not others:
            pid, path = samples[i].pid, samples[i].path
            raise DataError(f"no image of person {pid} can be read any more ({path}): repair one and run again")
        found.append(others[int(np.searchsorted(others, i)) % len(others)])
    return found
