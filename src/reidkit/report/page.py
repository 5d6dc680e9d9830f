"""The report of a run: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from reidkit.atomic import write_text_atomic
from reidkit.plots import charts
from reidkit.plots.charts import Histogram, Numbers, number
from reidkit.plots.image_grid import Overlay, RankedList, data_uri, overlay_uri, shown_name
from reidkit.recipe import Recipe, differences, to_json
from reidkit.terminal import visible

if TYPE_CHECKING:
    from pathlib import Path

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

TOLD = 8
"""Changes of a recipe that the head of the page shows; the others are counted there, and listed below."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of a run, as plain data; a part that is not there is named on the page in a sentence.

    `data` and `model` say in a line what was used; `changed` what was changed in the recipe that has a name, each field
    with its value and the one before (None: not known). `parent` is what the recipe is compared with (None: the
    defaults). `settings` are shown as they stand. `log` holds the rows of `log.jsonl`. `scores` and `reranked` have
    the keys of `reidkit evaluate --json`, as fractions. `cmc[k - 1]` is the share of queries with a true match among
    the first k. `attention` are queries, each with a true match. `embedding` is the address of a picture.
    An image takes about 4 kB of the page.
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
    """Write the page to `path`, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    # A name that is not UTF-8 reaches us with surrogates, which no file can hold.
    write_text_atomic(path, render(report).encode("utf-8", "replace"))


def render(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    source = resources.files("reidkit.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible
    )
    environment.filters |= {
        "image": data_uri,
        "overlay": overlay_uri,
        "name": shown_name,
        "fraction": _per_cent,
        "distance": _distance,
    }
    return environment.from_string(source).render(
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
            "value": _per_cent(report.scores.get(key)),
            "reranked": _per_cent(report.reranked.get(key)) if report.reranked else "",
        }
        for key, name, meaning in HEADLINES
    ]


def _table(report: Report) -> list[tuple[str, str, str]]:
    """Name, score, and score after re-ranking, of what the scores have."""
    if report.scores is None:
        return []
    second = report.reranked or {}
    rows = [
        (name, f"{_per_cent(report.scores[key])} %", f"{_per_cent(second[key])} %" if key in second else "")
        for key, name in FRACTIONS.items()
        if key in report.scores
    ]
    for key, name in COUNTS.items():
        if key in report.scores:
            rows.append((name, _count(report.scores[key]), _count(second[key]) if key in second else ""))
    return rows


def _changed(report: Report) -> dict[str, Any] | None:
    """What the head says of the changes: some of them, and how many more there are."""
    if report.changed is None:
        return None
    told = [(key, *map(json.dumps, values)) for key, values in report.changed.items()]
    return {"told": told[:TOLD], "more": len(told[TOLD:])}


def _seconds(report: Report) -> list[tuple[str, str]]:
    """What took how long in the evaluation, with the re-ranking where there was any."""
    parts = [part.get("seconds") for part in (report.scores or {}, report.reranked or {})]
    seconds = {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}
    return [
        (STAGES.get(str(stage), str(stage)), f"{value:,.2f} s")
        for stage, each in seconds.items()
        if (value := number(each)) is not None
    ]


def _evaluated(report: Report) -> list[charts.Figure]:
    """The figures of the evaluation."""
    curves = {"by distance": report.cmc, "re-ranked": report.cmc_reranked}
    figures = [
        charts.cmc_figure({name: curve for name, curve in curves.items() if len(curve)}),
        charts.distance_figure(report.distances) if report.distances else None,
    ]
    return [figure for figure in figures if figure]


def _recipe(report: Report) -> dict[str, Any] | None:
    """The recipe leaf by leaf, with what differs from its parent beside it."""
    if report.recipe is None:
        return None
    against = report.parent or Recipe()
    changed = dict(line.partition(": ")[::2] for line in differences(report.recipe, against))
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
    """How long all epochs took, in words; "" where the log does not say."""
    total = sum(number(row.get("seconds")) or 0.0 for row in charts.epoch_rows(log))
    if total >= 3600:
        return f"{total / 3600:.1f} hours"
    if total >= 120:
        return f"{total / 60:.0f} minutes"
    return f"{total:.0f} seconds" if total else ""


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(inner) for inner in value)
    return str(value)


def _per_cent(value: object) -> str:
    fraction = number(value)
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def _count(value: object) -> str:
    count = number(value)
    return "–" if count is None else f"{count:,.0f}"


def _distance(value: object) -> str:
    distance = number(value)
    return "–" if distance is None else f"{distance:.3f}"
