"""Training: `train` makes a run folder from a recipe and data.

`reidkit.train` is a package and also a function: `rk.train(recipe, data, out=...)` after `import reidkit as rk`. Its
names are loaded when they are used, as torch takes a second.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from reidkit.lazy import import_when_asked

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

_NAMES = {
    "reidkit.train.inputs": ("TrainOptions",),
    "reidkit.train.log": ("Callback", "TensorBoard"),
    "reidkit.train.loop": ("FinalWeights", "training_step"),
    "reidkit.train.optimizer": ("Schedule", "build_optimizer"),
    "reidkit.train.run": ("Run", "train"),
    "reidkit.train.run_comparison": ("RunComparison", "compare_runs"),
}

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


__getattr__ = import_when_asked(__name__, _NAMES)


class _Package(ModuleType):
    """Lets `reidkit.train(...)` train, also where the package of that name has been imported."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.train(*arguments, **named)


sys.modules[__name__].__class__ = _Package
