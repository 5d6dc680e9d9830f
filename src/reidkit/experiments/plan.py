"""The runs that a table needs, and the folder of each.

A run is known by its recipe, its data set, its seed and the weights it starts from, and not by the table: rows, and
tables with the same `out`, that need the same training share it.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipes import by_name, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.recipe import Recipe
    from reidkit.recipes.paper_table import Row, Search, Table


def silent(*_: object) -> None:
    """Ignore a message."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A table on given data sets, and what is changed in its recipes.

    Args:
        table: which rows there are.
        data: the folder of each data set, by its name.
        out: the folder for the runs and the files of the table.
        size: `full`, or one of the table's twins.
        interpretation: decides the disputed points of the paper; "" leaves the recipes as they are.
        settings: changes to every recipe, `optim.epochs=60`.
        rows: the names of the rows that are trained; () is all of them.
        seeds: the number of runs of each row, with seeds 0, 1, ...
        weights: the file that each backbone starts from, "" being any other backbone; None starts from scratch.
        masks: the folder of masks for rows that take them, with `grey`, `labels` and `keypoints` in it where there are
            several kinds; without one these rows are not trained.
    """

    table: Table
    data: Mapping[str, Path]
    out: Path
    size: str = "full"
    interpretation: str = ""
    settings: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int = 1
    weights: Mapping[str, Path | None] = field(default_factory=dict)
    masks: Path | None = None

    def __post_init__(self) -> None:
        """Take paths as text, too."""
        weights = {name: None if path is None else Path(path) for name, path in self.weights.items()}
        data = {name: Path(path) for name, path in self.data.items()}
        for name, value in (("out", Path(self.out)), ("data", data), ("weights", weights)):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name of the table's files, without their ending."""
        text = " ".join(sorted(self.settings)).encode()
        changed = f"-{hashlib.sha256(text).hexdigest()[:8]}" if text else ""
        size = "" if self.size == "full" else f"-{self.size}"
        return f"{self.table.name}{size}{f'-{self.interpretation}' if self.interpretation else ''}{changed}"

    def recipe(self, row: Row) -> Recipe | None:
        """Return the recipe of a row as it is trained: its twin, then the interpretation, then the settings.

        Raises:
            UsageError: the table has no such size or interpretation, or a setting is wrong.
        """
        if row.recipe is None:
            return None
        recipe = self.table.twin(row.recipe, self.size)
        if known := by_name().get(recipe.name):
            recipe = named(recipe, known)  # a table's own schedule is no reason for two recipes of one name
        if self.interpretation:
            if self.table.interpret is None:
                raise UsageError(f"{self.table.name} has no interpretations: leave out {self.interpretation}")
            recipe = self.table.interpret(recipe, self.interpretation)
        return recipes.override(recipe, list(self.settings)) if self.settings else recipe

    @cached_property
    def merged(self) -> Mapping[str, Row]:
        """The rows that the settings make one run with another row, by name, and that other one.

        Side by side they would look like two measurements.
        """
        found: dict[str, Row] = {}
        plain = dataclasses.replace(self, settings=())
        first_of: dict[tuple[str, Search], tuple[Row, str]] = {}
        asked = self.selected_rows()
        for row in (*asked, *(row for row in self.table.rows if row not in asked)) if self.settings else ():
            own, changed = plain.recipe(row), self.recipe_shown(row)
            if own and changed:
                was = recipes.digest(own)
                first, was_first = first_of.setdefault((recipes.digest(changed), row.search), (row, was))
                if was != was_first:
                    found[row.name] = first
        return found

    def recipe_shown(self, row: Row) -> Recipe | None:
        """Return the recipe of a row of the table; none, too, for a row that is not asked for and has no such setting.

        Raises:
            UsageError: as `recipe`, for a row that is asked for.
        """
        try:
            return self.recipe(row)
        except UsageError:
            if not self.rows or row.name in self.rows:
                raise
            return None

    def selected_rows(self) -> tuple[Row, ...]:
        """Return the rows that are asked for.

        Raises:
            UsageError: there is no such row, or nothing is measured for it.
        """
        known = {row.name: row for row in self.table.rows}
        measured = ", ".join(row.name for row in self.table.rows if row.recipe)
        for name in self.rows:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                remedy = f"did you mean {close[0]}?" if close else f"the rows are {measured}"
                raise UsageError(f"{self.table.name} has no row {name}; {remedy}", argument="rows")
            if known[name].recipe is None:
                raise UsageError(
                    f"{name} is only shown as published: name rows that are trained here, {measured}", argument="rows"
                )
            if self.masks is None and takes_masks(known[name]):
                raise UsageError(f"{name} takes masks beside the images: give the folder of them", argument="masks")
        return tuple(known[name] for name in known if not self.rows or name in self.rows)


def takes_masks(row: Row) -> bool:
    """Return whether the network of a row takes masks."""
    return row.recipe is not None and row.recipe.network.masks != "none"


@dataclass(frozen=True)
class Column:
    """A group of columns: the names of the data sets that are trained on and evaluated on."""

    name: str
    train: str
    test: str


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training, and every evaluation of its network: for each data set, the ways to search it."""

    recipe: Recipe
    data: str
    seed: int
    folder: Path
    weights: Path | None
    searches: Mapping[str, tuple[Search, ...]]
    titles: tuple[str, ...]

    def __str__(self) -> str:
        """Its recipe, rows, data set and seed."""
        return f"{self.recipe.name} ({'; '.join(self.titles)}) on {self.data}, seed {self.seed}"


def columns(table: Table, data: Mapping[str, Path]) -> tuple[Column, ...]:
    """Return the columns of a table: the data sets that are given, and where they are the paper's own, all of its own.

    Raises:
        UsageError: a table across data sets with more or fewer than two of them.
    """
    own = set(data) <= set(table.datasets)
    if not table.cross:
        names = (*data, *(name for name in table.datasets if own and name not in data))
        rank = {name: i for i, name in enumerate(table.datasets)}
        return tuple(Column(name, name, name) for name in sorted(names, key=lambda name: rank.get(name, 0)))
    names = table.datasets if own else tuple(data)
    if len(names) > 2:
        raise UsageError(f"{table.name} is between two data sets: give two, not {len(names)}", argument="data")
    if len(names) < 2:
        raise UsageError(f"{table.name} is between two data sets: give a second one, NAME=DIR", argument="data")
    first, second = names
    return (Column(f"{first}>{second}", first, second), Column(f"{second}>{first}", second, first))


def plan_runs(experiment: Experiment) -> list[PlannedRun]:
    """Return the runs of a table, row by row; a run that serves several rows stands where the first of them does.

    Raises:
        UsageError: rows, settings or data sets that do not fit the table.
        WeightsError: a weights file cannot be read.
    """
    _refuse_merged_rows(experiment)
    runs: dict[tuple[str, int], PlannedRun] = {}
    for row in experiment.selected_rows():
        recipe = None if experiment.masks is None and takes_masks(row) else experiment.recipe(row)
        for column in columns(experiment.table, experiment.data) if recipe else ():
            if recipe is None or not {column.train, column.test} <= set(experiment.data):
                continue
            for seed in range(experiment.seeds):
                run, key = plan_run(experiment, recipe, row, column, seed), _key(experiment, recipe, column)
                runs[key, seed] = _joined(runs.get((key, seed)), run)
    return list(runs.values())


def _refuse_merged_rows(experiment: Experiment) -> None:
    """Refuse settings that make one run of two rows that are asked for.

    Raises:
        UsageError: there are such rows.
    """
    for row in experiment.selected_rows():
        if first := experiment.merged.get(row.name):
            guilty = [one for one in experiment.settings if _apart_without(experiment, one, first, row)]
            raise UsageError(
                f"{first.name} and {row.name} of {experiment.table.name} differ only in what is set by "
                f"{', '.join(guilty or experiment.settings)}: leave that out, or name one of them with --rows",
                argument="settings",
            )


def _apart_without(experiment: Experiment, setting: str, *rows: Row) -> bool:
    """Return whether rows are different runs when a setting is left out."""
    rest = tuple(one for one in experiment.settings if one != setting)
    found = (dataclasses.replace(experiment, settings=rest).recipe(row) for row in rows)
    try:
        return len({recipes.digest(recipe) for recipe in found if recipe}) > 1
    except UsageError:  # the others need it
        return False


def plan_run(experiment: Experiment, recipe: Recipe, row: Row, column: Column, seed: int) -> PlannedRun:
    """Return the run behind one cell of a table."""
    name = f"{recipe.name}-{_key(experiment, recipe, column)}-seed{seed}"
    return PlannedRun(
        recipe=recipe,
        data=column.train,
        seed=seed,
        folder=_existing(experiment, recipe, column).get(seed, experiment.out / "runs" / name),
        weights=weights_of(experiment, recipe),
        searches={column.test: (row.search,)},
        titles=(row.title,),
    )


def run_folders(experiment: Experiment, recipe: Recipe, row: Row, column: Column) -> tuple[Path, ...]:
    """Return the runs of a cell: those that are asked for, and those that were made with other seeds before."""
    asked = range(experiment.seeds) if row in experiment.selected_rows() else ()
    seeds = sorted({*asked, *_existing(experiment, recipe, column)})
    return tuple(plan_run(experiment, recipe, row, column, seed).folder for seed in seeds)


def _existing(experiment: Experiment, recipe: Recipe, column: Column) -> dict[int, Path]:
    """The runs that are there, by seed. A folder starts with its recipe's name; one of an equal recipe serves too."""
    name = re.compile(rf".*-{re.escape(_key(experiment, recipe, column))}-seed(\d+)")
    paths = sorted((experiment.out / "runs").glob(f"*-{recipes.digest(recipe)[:10]}-*"), reverse=True)
    return {int(match[1]): path for path in paths if (match := name.fullmatch(path.name))}


def _key(experiment: Experiment, recipe: Recipe, column: Column) -> str:
    """Return what distinguishes runs, apart from their seed."""
    weights = weights_of(experiment, recipe)
    start = f"-from-{_digest_of(weights)}" if weights else ""
    return f"{recipes.digest(recipe)[:10]}-{column.train}{start}"


def weights_of(experiment: Experiment, recipe: Recipe) -> Path | None:
    """Return the file that a recipe's network starts from; None is from scratch."""
    return experiment.weights.get(recipe.network.backbone, experiment.weights.get(""))


@lru_cache(maxsize=64)
def _digest_of(path: Path) -> str:
    from reidkit.encoder.exported import digest_of_files  # it imports torch

    return digest_of_files([path])[:6]


def _joined(first: PlannedRun | None, second: PlannedRun) -> PlannedRun:
    """One run with the searches and the titles of both."""
    if first is None:
        return second
    searches = dict(first.searches)
    for name, ways in second.searches.items():
        searches[name] = tuple(dict.fromkeys((*searches.get(name, ()), *ways)))
    return dataclasses.replace(first, searches=searches, titles=tuple(dict.fromkeys((*first.titles, *second.titles))))
