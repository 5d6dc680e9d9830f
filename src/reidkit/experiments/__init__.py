"""Tables of experiments: a grid of runs, trained, evaluated and set beside published scores.

The public names can be imported from here; each is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.lazy import import_when_asked

if TYPE_CHECKING:
    from reidkit.experiments.grid import make_table, write_table
    from reidkit.experiments.measure import RunOptions
    from reidkit.experiments.plan import Experiment
    from reidkit.experiments.results import ResultTable

_NAMES = {
    "reidkit.experiments.grid": ("make_table", "write_table"),
    "reidkit.experiments.measure": ("RunOptions",),
    "reidkit.experiments.plan": ("Experiment",),
    "reidkit.experiments.results": ("ResultTable",),
}

__all__ = ["Experiment", "ResultTable", "RunOptions", "make_table", "write_table"]

__getattr__ = import_when_asked(__name__, _NAMES)
