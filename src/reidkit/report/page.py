"""The pages of a run and of two runs side by side, from plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reidkit import terminal
from reidkit.atomic import write_bytes_atomic
from reidkit.plots import charts
from reidkit.plots.charts import Chart, ChartFigure, Histogram, Line, Numbers, as_number
from reidkit.plots.image_grid import data_uri, overlay_uri, shown_name
from reidkit.plots.style import DARK, LIGHT
from reidkit.recipe import Recipe, changes, to_json
from reidkit.terminal import duration, visible

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.plots.image_grid import Overlay, RankedList

    Curves = Mapping[str, Sequence[Sequence[float]]]

    Score = tuple[str, float, float, tuple[float, float] | None, float]


def render_template(template: str, **values: object) -> str:
    """Fill a template of `report/templates`; every text in it is escaped, and a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reidkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.globals |= {"light": LIGHT, "dark": DARK}
    environment.filters |= {
        "image": data_uri,
        "overlay": overlay_uri,
        "name": shown_name,
        "percent": percent,
        "signed": lambda value: terminal.percent(value, sign="+"),
        "distance": _distance,
    }
    return environment.get_template(template).render(**values)


def write_page(path: Path, text: str) -> None:
    """Write a page atomically.

    Raises:
        DataError: the file cannot be written.
    """
    # A file name that is not UTF-8 arrives with surrogates, which no file can hold.
    write_bytes_atomic(path, text.encode("utf-8", "replace"))


def percent(value: object) -> str:
    """Write a fraction in per cent with one decimal, or a dash for what is no number."""
    return terminal.percent(as_number(value), none="–")


def _distance(value: object) -> str:
    distance = as_number(value)
    return "–" if distance is None else f"{distance:.3f}"


HEADLINES = (
    ("rank1", "rank-1", "queries whose nearest image is a true match"),
    ("map", "mAP", "how early all true matches come"),
    ("minp", "mINP", "how early the last true match comes"),
)
FRACTIONS = {
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "rank20": "rank-20",
    "map": "mAP",
    "map_trapezoid": "mAP by trapezoids",
    "minp": "mINP",
}
COUNTS = {
    "queries": "queries scored",
    "queries_skipped": "queries skipped: no true match",
    "gallery": "gallery images",
}
STAGES = {"embed": "computing the features", "score": "distances and scores", "rerank": "re-ranking"}

MOST_CHANGES = 8
"""Changes of a recipe that the head of the page shows; it counts the others, which are listed below."""

CURVES = {"loss": "Loss", "rank1": "Rank-1 of the validation", "map": "mAP of the validation"}
"""The curves over the epochs that two runs are compared by."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run or an evaluation as plain data; for a part that is missing, the page has a sentence that says so.

    Attributes:
        title, when, notes, settings: Shown as they are.
        command: The command that gives the same result.
        data, model: One line each on what was used.
        changed: Fields that were changed in a recipe with a name, each with its value and the one before (None: not
            known).
        recipe, parent: The recipe, and what it is compared with (None: the defaults).
        log: The rows of `log.jsonl`.
        scores, reranked: Fractions, with the keys of `reidkit evaluate --json`.
        cmc, cmc_reranked: `cmc[k - 1]` is the fraction of queries with a true match among the first k.
        hardest, random: Ranked lists. An image takes about 4 kB of the page.
        distances: Of pairs with the same id and with different ids.
        attention: Queries, each with its true match.
        embedding: The address of a figure.
    """

    title: str
    when: str = ""
    command: str = ""
    data: str = ""
    model: str = ""
    changed: Mapping[str, tuple[object, object]] | None = None
    notes: Sequence[str] = ()
    recipe: Recipe | None = None
    parent: Recipe | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Any] | None = None
    reranked: Mapping[str, Any] | None = None
    cmc: Numbers = ()
    cmc_reranked: Numbers = ()
    hardest: Sequence[RankedList] = ()
    random: Sequence[RankedList] = ()
    distances: Histogram | None = None
    attention: Sequence[tuple[Overlay, Overlay]] = ()
    embedding: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the page to `path` atomically.

    Raises:
        DataError: the file cannot be written.
    """
    write_page(path, render(report))


def render(report: Report) -> str:
    """Return the page as text."""
    return render_template(
        "report.html.j2",
        report=report,
        headlines=_headlines(report),
        table=_table(report),
        seconds=_seconds(report),
        training=charts.training_figures(report.log),
        speed=[each for each in (charts.throughput_figure(report.log),) if each],
        validation=[each for each in (charts.validation_figure(report.log),) if each],
        evaluated=_evaluated(report),
        duration=_duration(report.log),
        changed=_changed(report),
        recipe=_recipe(report),
        settings={key: _words(value) for key, value in report.settings.items()},
    )


def _headlines(report: Report) -> list[dict[str, str]]:
    if report.scores is None:
        return []
    return [
        {
            "name": name,
            "meaning": meaning,
            "value": percent(report.scores.get(key)),
            "reranked": percent(report.reranked.get(key)) if report.reranked else "",
        }
        for key, name, meaning in HEADLINES
    ]


def _table(report: Report) -> list[tuple[str, str, str]]:
    """Name, score, and score after re-ranking of whatever was measured."""
    if report.scores is None:
        return []
    second = report.reranked or {}
    rows = [
        (name, f"{percent(report.scores[key])} %", f"{percent(second[key])} %" if key in second else "")
        for key, name in FRACTIONS.items()
        if key in report.scores
    ]
    for key, name in COUNTS.items():
        if key in report.scores:
            rows.append((name, _count(report.scores[key]), _count(second[key]) if key in second else ""))
    return rows


def _changed(report: Report) -> dict[str, Any] | None:
    """Return the changes that the head of the page shows, and how many more there are."""
    if report.changed is None:
        return None
    changes = [(key, *map(json.dumps, values)) for key, values in report.changed.items()]
    return {"shown": changes[:MOST_CHANGES], "more": len(changes[MOST_CHANGES:])}


def _seconds(report: Report) -> list[tuple[str, str]]:
    """Return the stages of the evaluation with their times, and re-ranking where there was any."""
    parts = [part.get("seconds") for part in (report.scores or {}, report.reranked or {})]
    seconds = {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}
    return [
        (STAGES.get(str(stage), str(stage)), f"{value:,.2f} s")
        for stage, each in seconds.items()
        if (value := as_number(each)) is not None
    ]


def _evaluated(report: Report) -> list[charts.ChartFigure]:
    """Return the charts of the evaluation."""
    curves = {"by distance": report.cmc, "re-ranked": report.cmc_reranked}
    figures = [
        charts.cmc_figure({name: curve for name, curve in curves.items() if len(curve)}),
        charts.distance_figure(report.distances) if report.distances else None,
    ]
    return [figure for figure in figures if figure]


def _recipe(report: Report) -> dict[str, Any] | None:
    """Return the recipe field by field, and what differs from its parent."""
    if report.recipe is None:
        return None
    against = report.parent or Recipe()
    changed = {key: f"{own}, not {other}" for key, (own, other) in changes(report.recipe, against).items()}
    value = to_json(report.recipe)
    sections = {
        section: [(key, json.dumps(leaf), f"{section}.{key}" in changed) for key, leaf in leaves.items()]
        for section, leaves in value.items()
        if isinstance(leaves, dict)
    }
    return {
        "name": report.recipe.name,
        "against": f"recipe {report.parent.name}" if report.parent else "the defaults",
        "changed": changed,
        "sections": sections,
        "json": json.dumps(value, indent=2),
    }


def _duration(log: Sequence[Mapping[str, Any]]) -> str:
    """Return the time of all epochs in words; "" where the log has none."""
    total = sum(as_number(row.get("seconds")) or 0.0 for row in charts.epoch_rows(log))
    return duration(total) if total else ""


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


def _count(value: object) -> str:
    count = as_number(value)
    return "–" if count is None else f"{count:,.0f}"


@dataclass(frozen=True)
class ComparedQuery:
    """A query with its average precision by both models, and its first images by both where they are known."""

    name: str
    pid: int
    camid: int
    average_precision: tuple[float, float]
    lists: tuple[RankedList | None, RankedList | None]


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """Two runs, A and B, as plain data; empty parts are left out.

    Each score is its name, its value for A and for B (fractions), the interval of B - A, and p. `curves` are points
    (epoch, value) by key of `CURVES`.
    """

    names: tuple[str, str]
    command: str
    scores: Sequence[Score] = ()
    sentence: str = ""
    curves: tuple[Curves, Curves] = ({}, {})
    changed: Sequence[str] = ()
    queries: Sequence[ComparedQuery] = ()


def write_comparison(path: Path, page: ComparePage) -> None:
    """Write the page of two runs to `path` atomically.

    Raises:
        DataError: the file cannot be written.
    """
    write_page(path, render_template("comparison.html.j2", page=page, figures=compared_curves(*page.curves)))


def compared_curves(a: Curves, b: Curves) -> list[ChartFigure]:
    """Plot what either run has a curve of, in one chart each; every run keeps its colour, also alone."""
    found = []
    for key, title in CURVES.items():
        lines = [
            Line(name=name, x=[x for x, _ in curve], y=[y for _, y in curve], dots=len(curve) < 20, colour=colour)
            for colour, (name, curve) in enumerate((("A", a.get(key, ())), ("B", b.get(key, ()))))
            if curve
        ]
        if lines:
            last = [f"{line.y[-1]:.3g}" if key == "loss" else f"{percent(line.y[-1])} %" for line in lines]
            caption = "; ".join(f"{line.name}: {value} at last" for line, value in zip(lines, last, strict=True))
            chart = Chart(label=f"{title} over epochs. {caption}", lines=lines, x_label="epoch", per_cent=key != "loss")
            found.append(ChartFigure(title, caption, chart))
    return found
