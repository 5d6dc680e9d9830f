"""Scores of features: arrays in, numbers out.

The public functions take plain arguments and can be imported from here; each is loaded when it is first asked for.

>>> from reidkit.metrics import score
>>> from reidkit.types import Embeddings
>>> score(Embeddings([[0.0, 1.0]], [7], [1]), Embeddings([[0.1, 1.0], [1.0, 0.0]], [7, 8], [2, 2])).map
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.metrics.calibration import calibrate
    from reidkit.metrics.identification import open_set
    from reidkit.metrics.intervals import bootstrap, compare_paired
    from reidkit.metrics.ranking import Ranking, rank
    from reidkit.metrics.retrieval import Scores
    from reidkit.metrics.scoring import rerank, score
    from reidkit.metrics.verification import verify

_NAMES = {
    "reidkit.metrics.calibration": ("calibrate",),
    "reidkit.metrics.intervals": ("bootstrap", "compare_paired"),
    "reidkit.metrics.identification": ("open_set",),
    "reidkit.metrics.ranking": ("Ranking", "rank"),
    "reidkit.metrics.retrieval": ("Scores",),
    "reidkit.metrics.scoring": ("rerank", "score"),
    "reidkit.metrics.verification": ("verify",),
}

__all__ = [
    "Ranking",
    "Scores",
    "bootstrap",
    "calibrate",
    "compare_paired",
    "open_set",
    "rank",
    "rerank",
    "score",
    "verify",
]

__getattr__ = import_when_asked(__name__, _NAMES)


def __dir__() -> list[str]:
    return __all__
