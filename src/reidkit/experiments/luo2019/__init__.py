"""The figures of Luo et al. 2019, drawn by the code that trains and evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reidkit.experiments.plan import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

FIGURES = tuple(f"figure{number}" for number in range(1, 7))


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """What a figure is made from: each uses what it needs.

    Args:
        out: the folder for what has to be trained.
        data: a data set; None draws synthetic people.
        format: its format; None: it is recognised by the layout.
        measured: points of one's own for figure 1.
        settings: changes to every recipe that is trained.
        device: `auto`, `cpu` or `cuda`.
        command: what goes on with a figure that was stopped.
        say: called with each line about the progress.
    """

    out: Path
    data: Path | None = None
    format: str | None = None
    measured: Sequence[str] = ()
    settings: Sequence[str] = ()
    device: str = "auto"
    command: str = "the same command"
    say: Callable[[str], None] = silent


def draw_figure(name: str, options: FigureOptions) -> Figure:
    """Draw one of `FIGURES`.

    Raises:
        ReidkitError: wrong points, data or settings; or what training would raise.
    """
    from reidkit.experiments.luo2019 import feature_plane, figures, methods, pipelines

    if name == "figure1":
        return methods.figure([methods.measured(text) for text in options.measured])
    if name == "figure4":
        return figures.figure4(options.data, format=options.format)
    if name == "figure6":
        plan = feature_plane.Plan(
            out=options.out / name,
            data=options.data,
            format=options.format,
            settings=tuple(options.settings),
            device=options.device,
            command=options.command,
            say=options.say,
        )
        return feature_plane.figure(plan)
    return {"figure2": pipelines.figure2, "figure3": figures.figure3, "figure5": pipelines.figure5}[name]()
