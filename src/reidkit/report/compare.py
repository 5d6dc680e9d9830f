"""The page that lays two runs side by side: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING

from reidkit.atomic import write_text_atomic
from reidkit.plots.charts import Chart, Figure, Line, draw
from reidkit.plots.image_grid import data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reidkit.plots.image_grid import RankedList

    Curves = Mapping[str, Sequence[Sequence[float]]]
    Score = tuple[str, float, float, tuple[float, float] | None, float]

TITLES = {"loss": "Loss", "rank1": "Rank-1 of the validation", "map": "mAP of the validation"}


@dataclass(frozen=True)
class Query:
    """A query with its average precision by both models, and the heads of both lists where they are known."""

    name: str
    pid: int
    camid: int
    average_precision: tuple[float, float]
    lists: tuple[RankedList | None, RankedList | None]


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """What is known of two runs; scores are fractions, with the interval of B - A and p. Empty parts are left out."""

    names: tuple[str, str]
    command: str
    scores: Sequence[Score] = ()
    sentence: str = ""
    curves: tuple[Curves, Curves] = ({}, {})
    changed: Sequence[str] = ()
    queries: Sequence[Query] = ()


def write_page(path: Path, page: ComparePage) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    write_text_atomic(path, render(page).encode("utf-8", "replace"))


def render(page: ComparePage) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    source = resources.files("reidkit.report").joinpath("compare.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"image": data_uri, "name": _name, "percent": _percent, "signed": _signed}
    return environment.from_string(source).render(page=page, figures=figures(*page.curves))


def figures(a: Curves, b: Curves) -> list[Figure]:
    """A chart with a line of each run, for what either of them has."""
    found = []
    for key, title in TITLES.items():
        lines = [
            Line(name=name, x=[x for x, _ in curve], y=[y for _, y in curve], dots=len(curve) < 20)
            for name, curve in (("A", a.get(key, ())), ("B", b.get(key, ())))
            if curve
        ]
        if lines:
            caption = "; ".join(f"{line.name}: {line.y[-1]:.3g} at last" for line in lines)
            chart = Chart(label=f"{title} over epochs. {caption}", lines=lines, x_label="epoch", per_cent=key != "loss")
            svg = draw(chart)
            if lines[0].name == "B":  # alone, it keeps its own colour
                svg = svg.replace('c0"', 'c1"')
            found.append(Figure(title, caption, svg, tuple(line.name for line in lines)))
    return found


def _name(text: str) -> str:
    """The last part of a path, as text that can be encoded: folders of this machine are nobody's business."""
    return PurePath(text).name.encode("utf-8", "replace").decode("utf-8")


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"
