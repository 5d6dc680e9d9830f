"""A table as plain data: what the paper prints, what was measured, and how far they are apart."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reidkit.experiments.measure import scores_of
from reidkit.experiments.plan import STANDARD, columns, folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from reidkit.experiments.measure import Known
    from reidkit.experiments.plan import Column, Order
    from reidkit.recipe import Recipe
    from reidkit.recipes.tables import Line, Search

SCORES = ("rank1", "map")

GET = {
    "market1501": "get Market-1501 from https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html and give "
    "--data market1501=DIR",
    "dukemtmc": "DukeMTMC-reID was withdrawn by its authors in 2019; with a copy that you may use give "
    "--data dukemtmc=DIR",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
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
        """Whether the paper's number lies within one deviation of the mean; None where that cannot be said."""
        if self.difference is None or self.deviation is None:
            return None
        return math.fabs(self.difference) <= self.deviation

    @property
    def change(self) -> float | None:
        """What this row adds to its parent's mean."""
        return None if self.mean is None or self.parent is None else self.mean - self.parent


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in a row under one group of columns: rank-1 and mAP, and the runs behind them."""

    rank1: Measured = Measured()
    map: Measured = Measured()
    runs: tuple[Path, ...] = ()
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """A row: its line, the recipe as it is trained here, and a cell for each group of columns."""

    line: Line
    recipe: Recipe | None
    search: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The whole table. `compared` says for each group of columns whether the paper's numbers stand beside it."""

    name: str
    title: str
    columns: tuple[Column, ...]
    compared: tuple[bool, ...]
    rows: tuple[SheetRow, ...]
    notes: tuple[str, ...] = field(default=())
    command: str = ""
    settings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The table as plain JSON values; scores are fractions."""
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

    def _row_json(self, row: SheetRow) -> dict[str, Any]:
        results = {
            column.name: {
                **{score: _measured_json(getattr(cell, score)) for score in SCORES},
                "runs": [str(path) for path in cell.runs],
                **({"failed": cell.failed} if cell.failed else {}),
            }
            for column, cell in zip(self.columns, row.cells, strict=True)
        }
        name = row.recipe.name if row.recipe else None
        return {"row": row.line.name, "title": row.line.title, "recipe": name, "search": row.search, "results": results}


def build(order: Order, known: Mapping[str, Known], failures: Mapping[Path, str], command: str = "") -> Sheet:
    """The table as far as its runs have come, with what earlier calls have measured for it.

    `known` are the data sets by name; `failures` says of a run's folder why it did not get to its end.
    """
    groups = columns(order.table, order.data)
    filler = _Filler(order, known, failures, groups)
    compared = tuple(filler.is_compared(column) for column in groups)
    rows: dict[str, SheetRow] = {}
    for line in order.table.lines:
        if line.recipe or any(compared):
            rows[line.name] = filler.row(line)
    return Sheet(
        name=order.stem,
        title=order.table.title,
        columns=groups,
        compared=compared,
        rows=tuple(_over_parent(row, rows.get(row.line.parent)) for row in rows.values()),
        notes=tuple(_notes(order, groups, compared)),
        command=command,
        settings=order.settings,
    )


def _over_parent(row: SheetRow, parent: SheetRow | None) -> SheetRow:
    """The row with the means of its parent's beside its own, wherever in the table that one stands."""
    if parent is None:
        return row
    cells = []
    for own, other in zip(row.cells, parent.cells, strict=True):
        rank1, map_ = replace(own.rank1, parent=other.rank1.mean), replace(own.map, parent=other.map.mean)
        cells.append(replace(own, rank1=rank1, map=map_))
    return replace(row, cells=tuple(cells))


@dataclass(frozen=True)
class _Filler:
    """Fills the cells of a table from what its runs have left behind."""

    order: Order
    known: Mapping[str, Known]
    failures: Mapping[Path, str]
    groups: tuple[Column, ...]

    def is_compared(self, column: Column) -> bool:
        """Whether published numbers mean the same as what is measured here: whole recipe, same data sets."""
        if self.order.size != "full" or self.order.settings:
            return False
        given = [name for name in (column.train, column.test) if name in self.known]
        return column.name in self._published and all(self.known[name].official for name in given)

    @property
    def _published(self) -> set[str]:
        return {name for line in self.order.table.lines for name in line.published}

    def row(self, line: Line) -> SheetRow:
        """The row of a line by itself."""
        recipe = self.order.recipe(line)
        cells = tuple(self._cell(line, recipe, column) for column in self.groups)
        search = search_words(line.search, recipe) if recipe else "as published"
        return SheetRow(line=line, recipe=recipe, search=search, cells=cells)

    def _cell(self, line: Line, recipe: Recipe | None, column: Column) -> Cell:
        paper = line.published.get(column.name) if self.is_compared(column) else None
        runs = self._runs(line, recipe, column)
        found: list[dict[str, float]] = []
        if runs:
            key, trained = self.known[column.test].key(line.search), self.known[column.train].trained
            found = [scores[key] for scores in (scores_of(run, trained) for run in runs) if key in scores]
        rank1, map_ = (
            Measured(paper=paper[i] if paper else None, values=tuple(scores[name] for scores in found))
            for i, name in enumerate(SCORES)
        )
        failed = "; ".join(dict.fromkeys(self.failures[run] for run in runs if run in self.failures))
        return Cell(rank1=rank1, map=map_, runs=runs, failed=failed)

    def _runs(self, line: Line, recipe: Recipe | None, column: Column) -> tuple[Path, ...]:
        if recipe is None or not {column.train, column.test} <= set(self.known):
            return ()
        return folders(self.order, recipe, line, column)


def search_words(search: Search, recipe: Recipe) -> str:
    """How a network is searched with, in the paper's names: f without a neck, f_t before it, f_i behind it."""
    feature = "f" if recipe.network.neck == "none" else {"before": "f_t", "after": "f_i"}[search.feature]
    return f"{feature}, {search.metric}{', re-ranked' if search.rerank else ''}"


def _notes(order: Order, groups: tuple[Column, ...], compared: tuple[bool, ...]) -> Iterator[str]:
    yield from order.table.notes
    if order.reading:
        yield f"Disputed points are read as {order.reading} (`reidkit paper differences`)."
    if order.settings:
        yield f"Changed by --set: {', '.join(order.settings)}."
    if order.size == "small":
        network = "quarter-width networks" if order.table.backbones else "a quarter-width ResNet-18"
        yield f"Small twins: {network}, images of half the size, 40 epochs; {_start_words(order)}."
    if order.size == "short":
        yield "Short twins: ResNet-50, images of half the size, 24 epochs."
    names = {name for column in groups for name in (column.train, column.test)}
    if apart := [column.name for column, same in zip(groups, compared, strict=True) if not same]:
        yield f"Not comparable with published numbers, which are therefore left out: {', '.join(apart)}."
    yield from (f"{name} is not measured: {GET[name]}." for name in STANDARD if name in names - set(order.data))


def _start_words(order: Order) -> str:
    files = set(order.weights.values())
    if not files or files == {None}:
        return "from scratch"
    if all(file and file.is_relative_to(order.out / "start") for file in files):
        return "weights from twelve epochs on drawn people, in the place of ImageNet's"
    return f"weights from {', '.join(sorted(file.name if file else 'scratch' for file in files))}"


def _measured_json(measured: Measured) -> dict[str, Any]:
    return {
        "paper": measured.paper,
        "mean": measured.mean,
        "deviation": measured.deviation,
        "values": list(measured.values),
        "difference": measured.difference,
        "inside": measured.inside,
        "over_parent": measured.change,
    }
