"""`reidkit distil`: `reidkit train` with the teacher first."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from reidkit.cli.train import train


def distil(**given: Any) -> int:
    """Train a network that learns from a larger one, too: `reidkit train --teacher`."""
    return train(**given)


def _signature() -> inspect.Signature:
    """Return the parameters of `train`, with the teacher as the first argument in the place of an option."""
    hints = get_type_hints(train, include_extras=True)
    about = "The model to learn from: a run's folder, or any file of a model."
    teacher = Annotated[Path, typer.Argument(metavar="TEACHER", help=about)]
    first = inspect.Parameter("teacher", inspect.Parameter.KEYWORD_ONLY, annotation=teacher)
    rest = [
        parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(train).parameters.items()
        if name != "teacher"
    ]
    return inspect.Signature([rest[0], first, *rest[1:]])


distil.__signature__ = _signature()  # type: ignore[attr-defined]
distil.__annotations__ = {name: parameter.annotation for name, parameter in distil.__signature__.parameters.items()}  # type: ignore[attr-defined]
