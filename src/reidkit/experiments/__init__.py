"""Tables of experiments: a grid of runs, trained, evaluated and set beside published scores.

The public names can be imported from here; each is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reidkit.experiments.grid import make_table, write_table
    from reidkit.experiments.measure import RunOptions
    from reidkit.experiments.plan import Experiment
    from reidkit.experiments.results import ResultTable

_MODULES = {
    "Experiment": "plan",
    "ResultTable": "results",
    "RunOptions": "measure",
    "make_table": "grid",
    "write_table": "grid",
}

__all__ = ["Experiment", "ResultTable", "RunOptions", "make_table", "write_table"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
