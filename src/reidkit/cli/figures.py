"""The figures of `reidkit paper`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reidkit.cli.show import print_json, print_line, remark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

FIGURES = tuple(f"figure{number}" for number in range(1, 7))
WRITTEN = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a figure is to be made from: each uses what it needs. `data` None is synthetic people."""

    out: Path
    data: Path | None = None
    measured: Sequence[str] = ()
    settings: Sequence[str] = ()
    device: str = "auto"
    command: str = ""


def draw(what: str, wanted: Wanted, *, as_json: bool) -> None:
    """Draw the figure into the folder `wanted.out`, in each of the formats, and say where it is."""
    from reidkit.report.canvas import write_figure

    made = _make(what, wanted)
    paths = [wanted.out / f"{what}{ending}" for ending in WRITTEN]
    for path in paths:
        write_figure(made, path)
    if as_json:
        print_json({"figure": what, "paths": [str(path) for path in paths]})
    else:
        print_line("  ".join(map(str, paths)))


def _make(what: str, wanted: Wanted) -> Figure:
    from reidkit.paper.figures import embedding, erasing, pipeline, rates, scatter

    if what == "figure1":
        return scatter.figure([scatter.measured(text) for text in wanted.measured])
    if what == "figure4":
        return erasing.figure(wanted.data)
    if what == "figure6":
        plan = embedding.Plan(
            out=wanted.out / what,
            data=wanted.data,
            settings=tuple(wanted.settings),
            device=wanted.device,
            command=wanted.command,
            say=remark,
        )
        return embedding.figure(plan)
    return {"figure2": pipeline.figure2, "figure3": rates.figure, "figure5": pipeline.figure5}[what]()
