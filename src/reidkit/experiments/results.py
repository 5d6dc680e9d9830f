"""The results of a table: what the paper prints, what was measured, how far they are apart, and what networks cost."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reidkit.errors import UsageError
from reidkit.experiments.measure import scores_of
from reidkit.experiments.plan import columns, run_folders
from reidkit.model.network import build_network
from reidkit.recipes.paper_table import BENCHMARKS
from reidkit.train import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from reidkit.experiments.measure import DatasetDigest
    from reidkit.experiments.plan import Column, Experiment
    from reidkit.recipe import Network, Recipe
    from reidkit.recipes.paper_table import Row, Search, Twin

SCORES = ("rank1", "map")
"""Those that papers print; `minp` is measured beside them."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score: as published, by seed as measured, and the mean of the parent's row; fractions."""

    paper: float | None = None
    values: tuple[float, ...] = ()
    parent: float | None = None

    @property
    def mean(self) -> float | None:
        """The mean over the seeds; None where nothing is measured."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds (n - 1); None with fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    @property
    def inside(self) -> bool | None:
        """Whether the paper's number lies within one deviation of the mean; None where either is missing."""
        if self.difference is None or self.deviation is None:
            return None
        return math.fabs(self.difference) <= self.deviation

    @property
    def change(self) -> float | None:
        """What this row adds to its parent's mean."""
        return None if self.mean is None or self.parent is None else self.mean - self.parent


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters in millions, without classifiers; GFLOP for one image, two for each multiply-add."""

    parameters: float
    gflop: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row's scores in one group of columns, and the runs that they are the mean of; why one failed."""

    rank1: Score = Score()
    map: Score = Score()
    minp: Score = Score()
    runs: tuple[Path, ...] = ()
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A row by its name and title, the recipe as it is trained here, and a cell for each group of columns.

    Of a table beyond the paper also: what the network costs, at how many images a second it was trained here, what was
    claimed for the method by data set, and in which setting.
    """

    name: str
    title: str
    recipe: Recipe | None
    search: str
    cells: tuple[Cell, ...]
    cost: Cost | None = None
    speed: float | None = None
    claimed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """The whole table.

    Args:
        name: of its files.
        title: the heading.
        columns: groups of columns.
        compared: for each of them, whether the paper's numbers stand beside what was measured.
        rows: each with a cell for each group.
        notes: sentences below the table.
        command: what made it.
        settings: what was changed in every recipe.
        failures: why runs did not come to their end, by folder.
        beyond: whether costs, mINP and claimed scores are shown.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    compared: tuple[bool, ...]
    rows: tuple[ResultRow, ...]
    notes: tuple[str, ...] = field(default=())
    command: str = ""
    settings: tuple[str, ...] = ()
    failures: Mapping[Path, str] = field(default_factory=dict)
    beyond: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain JSON values; scores are fractions."""
        return {
            "table": self.name,
            "title": self.title,
            "command": self.command,
            "settings": list(self.settings),
            "notes": list(self.notes),
            "columns": [
                {"name": column.name, "train": column.train, "test": column.test, "compared": compared}
                for column, compared in zip(self.columns, self.compared, strict=True)
            ],
            "rows": [self._row_json(row) for row in self.rows],
        }

    def _row_json(self, row: ResultRow) -> dict[str, Any]:
        results = {
            column.name: {
                **{score: _score_json(getattr(cell, score)) for score in self._scores},
                "runs": [str(path) for path in cell.runs],
                **({"failed": cell.failed} if cell.failed else {}),
            }
            for column, cell in zip(self.columns, row.cells, strict=True)
        }
        name = row.recipe.name if row.recipe else None
        found = {"row": row.name, "title": row.title, "recipe": name, "search": row.search, "results": results}
        return {**found, **_beyond_json(row)} if self.beyond else found

    @property
    def _scores(self) -> tuple[str, ...]:
        return (*SCORES, "minp") if self.beyond else SCORES


def collect_results(
    experiment: Experiment, digests: Mapping[str, DatasetDigest], failures: Mapping[Path, str], command: str = ""
) -> ResultTable:
    """Return the table as far as its runs have come, with what earlier calls have measured for it.

    Args:
        experiment: the table and its data sets.
        digests: the data sets by name.
        failures: why runs did not come to their end, by folder.
        command: what made the table.
    """
    groups = columns(experiment.table, experiment.data)
    compared = tuple(_is_compared(experiment, column, digests) for column in groups)
    rows: dict[str, ResultRow] = {}
    for row in experiment.table.rows:
        if row.recipe or any(compared):
            recipe = None if row.name in experiment.merged else experiment.recipe_shown(row)
            cells = []
            for column, beside in zip(groups, compared, strict=True):
                paper = row.published.get(column.name) if beside else None
                here = {column.train, column.test} <= set(digests)
                runs = run_folders(experiment, recipe, row, column) if recipe and here else ()
                cells.append(_cell(runs, paper, row.search, column, digests, failures))
            search = search_words(row.search, known) if (known := recipe or row.recipe) else "as published"
            made = ResultRow(name=row.name, title=row.title, recipe=recipe, search=search, cells=tuple(cells))
            rows[row.name] = _beyond(made, row) if experiment.table.beyond else made
    return ResultTable(
        name=experiment.name,
        title=experiment.table.title,
        columns=groups,
        compared=compared,
        rows=tuple(
            _over_parent(rows[row.name], rows.get(row.parent)) for row in experiment.table.rows if row.name in rows
        ),
        notes=tuple(_notes(experiment, groups, compared)),
        command=command,
        settings=experiment.settings,
        failures=dict(failures),
        beyond=experiment.table.beyond,
    )


def _beyond(made: ResultRow, row: Row) -> ResultRow:
    """Return the row with its costs and claims."""
    if made.recipe is None:
        return replace(made, claimed=row.published, note=row.note)
    runs = [run for cell in made.cells for run in cell.runs]
    try:
        cost = network_cost(made.recipe.network, made.recipe.images.size)
    except UsageError:  # a setting that this network cannot take; where the row is asked for, its training says so
        cost = None
    return replace(made, cost=cost, speed=training_speed(runs), claimed=row.published, note=row.note)


def _beyond_json(row: ResultRow) -> dict[str, Any]:
    """Return what a table beyond the paper has of a row beside its scores."""
    return {
        "parameters_m": row.cost.parameters if row.cost else None,
        "gflop": row.cost.gflop if row.cost else None,
        "images_per_s": row.speed,
        "claimed": {name: {"rank1": pair[0], "map": pair[1]} for name, pair in row.claimed.items()},
        "note": row.note,
    }


def _is_compared(experiment: Experiment, column: Column, digests: Mapping[str, DatasetDigest]) -> bool:
    """Return whether published numbers mean the same as what is measured here: whole recipe, same data sets."""
    if experiment.size != "full" or experiment.settings:
        return False
    given = [name for name in (column.train, column.test) if name in digests]
    published = any(column.name in row.published for row in experiment.table.rows)
    return published and all(digests[name].official for name in given)


def _cell(
    runs: tuple[Path, ...],
    paper: tuple[float, float] | None,
    search: Search,
    column: Column,
    digests: Mapping[str, DatasetDigest],
    failures: Mapping[Path, str],
) -> Cell:
    """Return what the runs have measured beside what the paper prints, and why runs failed."""
    found: list[dict[str, float]] = []
    if runs:
        key, trained = digests[column.test].key(search), digests[column.train].trained
        found = [scores[key] for scores in (scores_of(run, trained) for run in runs) if key in scores]
    rank1, map_ = (
        Score(paper=paper[i] if paper else None, values=tuple(scores[name] for scores in found))
        for i, name in enumerate(SCORES)
    )
    minp = Score(values=tuple(scores["minp"] for scores in found if "minp" in scores))
    failed = "; ".join(dict.fromkeys(failures[run] for run in runs if run in failures))
    return Cell(rank1=rank1, map=map_, minp=minp, runs=runs, failed=failed)


def _over_parent(row: ResultRow, parent: ResultRow | None) -> ResultRow:
    """Return the row with the means of its parent's beside its own, wherever in the table that one stands."""
    if parent is None:
        return row
    cells = []
    for own, other in zip(row.cells, parent.cells, strict=True):
        rank1, map_ = replace(own.rank1, parent=other.rank1.mean), replace(own.map, parent=other.map.mean)
        minp = replace(own.minp, parent=other.minp.mean)
        cells.append(replace(own, rank1=rank1, map=map_, minp=minp))
    return replace(row, cells=tuple(cells))


def search_words(search: Search, recipe: Recipe) -> str:
    """Return how a network is evaluated, in words; the feature is f without a neck, f_t before it, f_i after it."""
    feature = "f" if recipe.network.neck == "none" else {"before": "f_t", "after": "f_i"}[search.feature]
    return f"{feature}, {search.metric}{', re-ranked' if search.rerank else ''}"


def _notes(experiment: Experiment, groups: tuple[Column, ...], compared: tuple[bool, ...]) -> Iterator[str]:
    table = experiment.table
    yield from table.notes
    if twin := table.twins.get(experiment.size):
        yield f"{twin.words}{_epochs_words(experiment)}{_start_words(experiment, twin)}."
    if experiment.interpretation:
        yield f"Disputed points follow the interpretation {experiment.interpretation} (`reidkit paper differences`)."
    if experiment.settings:
        yield f"Changed by --set: {', '.join(experiment.settings)}."
    if apart := [column.name for column, same in zip(groups, compared, strict=True) if not same]:
        yield f"Not comparable with published numbers, which are therefore left out: {', '.join(apart)}."
    missing = dict.fromkeys(name for column in groups for name in (column.train, column.test))
    for name in missing:
        if name not in experiment.data:
            remedy = BENCHMARKS[name].remedy if name in BENCHMARKS else f"give --data {name}=DIR"
            yield f"{name} is not measured: {remedy}."


def _epochs_words(experiment: Experiment) -> str:
    """Return how long the rows of a table are trained, with what was changed by settings."""
    recipes = filter(None, map(experiment.recipe_shown, experiment.table.rows))
    counts = sorted({recipe.optim.epochs for recipe in recipes})
    if not counts:
        return ""
    ends = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return f", {ends} {'epoch' if ends == '1' else 'epochs'}"


def _start_words(experiment: Experiment, twin: Twin) -> str:
    """Return what the networks of twins start from, where their rows start from ImageNet's weights."""
    if twin.start is None:
        return ""
    files = set(experiment.weights.values())
    if not files or files == {None}:
        return "; from scratch"
    if all(file and file.is_relative_to(experiment.out / "start") for file in files):
        return "; weights from a few epochs on synthetic people, in the place of ImageNet's"
    return f"; weights from {', '.join(sorted(file.name if file else 'scratch' for file in files))}"


def _score_json(score: Score) -> dict[str, Any]:
    return {
        "paper": score.paper,
        "mean": score.mean,
        "deviation": score.deviation,
        "values": list(score.values),
        "difference": score.difference,
        "inside": score.inside,
        "over_parent": score.change,
    }


# What a network costs.


@cache
def network_cost(network: Network, size: tuple[int, int]) -> Cost:
    """Count what a network of a recipe costs for one image of `size` (height, width), without making its weights."""
    with torch.device("meta"):
        made = build_network(network).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made(torch.empty(1, 3 + made.mask_channels, *size))
    parameters = sum(parameter.numel() for parameter in made.parameters())
    return Cost(parameters=parameters / 1e6, gflop=counter.get_total_flops() / 1e9)


def training_speed(folders: Sequence[Path]) -> float | None:
    """Return the images a second that nine of ten logged steps of runs stay below; None where there are none.

    Not the mean: a run that shares its machine is slowed down, and none is sped up.
    """
    rates: list[float] = []
    for folder in folders:
        rows = log.read(folder / "log.jsonl")
        rates += [float(row["images_per_s"]) for row in rows if row["kind"] == "step" and row.get("images_per_s")]
    return statistics.quantiles(rates, n=10, method="inclusive")[-1] if len(rates) > 1 else None
