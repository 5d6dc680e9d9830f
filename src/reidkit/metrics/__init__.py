"""Scores of features: arrays in, numbers out.

The public functions take plain arguments and can be imported from here; each is loaded when it is first asked for.

>>> from reidkit.metrics import score
>>> from reidkit.types import Embeddings
>>> score(Embeddings([[0.0, 1.0]], [7], [1]), Embeddings([[0.1, 1.0], [1.0, 0.0]], [7, 8], [2, 2])).map
1.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.metrics.calibration import calibrate
    from reidkit.metrics.intervals import bootstrap, compare_paired
    from reidkit.metrics.ranking import Ranking, rank
    from reidkit.metrics.retrieval import Scores
    from reidkit.metrics.scoring import rerank, score
    from reidkit.metrics.verification import open_set, verify

_MODULES = {
    "Ranking": "ranking",
    "Scores": "retrieval",
    "bootstrap": "intervals",
    "calibrate": "calibration",
    "compare_paired": "intervals",
    "open_set": "verification",
    "rank": "ranking",
    "rerank": "scoring",
    "score": "scoring",
    "verify": "verification",
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


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
