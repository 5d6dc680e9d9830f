"""Training: `train` makes a run folder from a recipe and data.

`reidkit.train` is a package and also a function: `rk.train(recipe, data, out=...)` after `import reidkit as rk`. Its
names are loaded when they are used, as torch takes a second.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.train.inputs import TrainOptions as TrainOptions
    from reidkit.train.log import Callback as Callback
    from reidkit.train.log import TensorBoard as TensorBoard
    from reidkit.train.loop import FinalWeights as FinalWeights
    from reidkit.train.loop import training_step as training_step
    from reidkit.train.optimizer import Schedule as Schedule
    from reidkit.train.optimizer import build_optimizer as build_optimizer
    from reidkit.train.run import Run as Run
    from reidkit.train.run import train as train
    from reidkit.train.run_comparison import RunComparison as RunComparison
    from reidkit.train.run_comparison import compare_runs as compare_runs

_HOME = {
    "Callback": "log",
    "FinalWeights": "loop",
    "Run": "run",
    "RunComparison": "run_comparison",
    "Schedule": "optimizer",
    "TensorBoard": "log",
    "TrainOptions": "inputs",
    "build_optimizer": "optimizer",
    "compare_runs": "run_comparison",
    "train": "run",
    "training_step": "loop",
}
"""The modules of the public names."""

__all__ = [  # noqa: PLE0604, PLE0605, RUF100
    "Callback",
    "FinalWeights",
    "Run",
    "RunComparison",
    "Schedule",
    "TensorBoard",
    "TrainOptions",
    "build_optimizer",
    "compare_runs",
    "train",
    "training_step",
]

logging.getLogger("reidkit").addHandler(logging.NullHandler())  # a library prints nothing unless it is asked to


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


class _Package(ModuleType):
    """Lets `reidkit.train(...)` train, also where the package of that name has been imported."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.train(*arguments, **named)


sys.modules[__name__].__class__ = _Package
