"""What has to be trained for a table, and where each run lies.

A run is known by its recipe, its data set, its seed and the weights it starts from, and not by the table: rows, and
tables in the same folder, that need the same training share it.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from reidkit import recipe as recipes
from reidkit.errors import UsageError, WeightsError
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.recipes.tables import CROSS, DUKE, MARKET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reidkit.recipe import Recipe
    from reidkit.recipes.tables import Line, Search, Size, Table

STANDARD = (MARKET, DUKE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for. `data` maps a name to a folder; `weights` a backbone, or "" for any, to a file.

    A backbone whose file is None starts from scratch.
    `rows` are names of lines, () for all of them; `seeds` is how many runs each row gets, with seeds 0, 1, ...
    """

    table: Table
    data: Mapping[str, Path]
    out: Path
    size: Size = "full"
    reading: str = ""
    settings: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    seeds: int = 1
    weights: Mapping[str, Path | None] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name of the table's files, without their ending."""
        told = " ".join(sorted(self.settings)).encode()
        changed = f"-{hashlib.sha256(told).hexdigest()[:8]}" if told else ""
        kind = "" if self.size == "full" else f"-{self.size}"
        return f"{self.table.name}{kind}{f'-{self.reading}' if self.reading else ''}{changed}"

    def recipe(self, line: Line) -> Recipe | None:
        """The recipe of a line as it is trained: its twin, then the reading, then the settings."""
        if line.recipe is None:
            return None
        made = self.table.twin(line.recipe, self.size)
        if self.reading:
            made = interpret(made, self.reading)
        return recipes.override(made, list(self.settings)) if self.settings else made

    def lines(self) -> tuple[Line, ...]:
        """The lines that are asked for.

        Raises:
            UsageError: there is no such row, or nothing is measured for it.
        """
        known = {line.name: line for line in self.table.lines}
        for name in self.rows:
            if name not in known:
                measured = [line.name for line in self.table.lines if line.recipe]
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                remedy = f"did you mean {close[0]}?" if close else f"the rows are {', '.join(measured)}"
                raise UsageError(f"{self.table.name} has no row {name}; {remedy}", argument="rows")
            if known[name].recipe is None:
                raise UsageError(f"{name} is only shown as published: name rows that are trained here", argument="rows")
        return tuple(known[name] for name in known if not self.rows or name in self.rows)


@dataclass(frozen=True)
class Column:
    """A group of columns: what is trained on and what is searched, by the names of the data sets."""

    name: str
    train: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run, and everything that is searched with its network: names of data sets, each with the ways to search."""

    recipe: Recipe
    data: str
    seed: int
    folder: Path
    weights: Path | None
    searches: Mapping[str, tuple[Search, ...]]
    titles: tuple[str, ...]


def columns(table: Table, data: Mapping[str, Path]) -> tuple[Column, ...]:
    """The columns of a table: the data sets that are given, and the paper's own where they are what is given in part.

    Raises:
        UsageError: a table across data sets with more than two of them.
    """
    own = set(data) <= set(STANDARD)
    if not table.cross:
        names = (*data, *(name for name in STANDARD if own and name not in data))
        return tuple(Column(name, name, name) for name in sorted(names, key=lambda n: n == DUKE))
    if len(data) > 2:
        raise UsageError(f"{table.name} is between two data sets: give two, not {len(data)}", argument="data")
    if len(data) == 2 and not own:
        first, second = data
        return (Column(f"{first}>{second}", first, second), Column(f"{second}>{first}", second, first))
    if own:
        return (Column(CROSS[0], MARKET, DUKE), Column(CROSS[1], DUKE, MARKET))
    raise UsageError(f"{table.name} is between two data sets: give a second one, NAME=DIR", argument="data")


def plan(order: Order) -> list[Training]:
    """The runs of a table, row by row; a run that serves several rows stands where the first of them does.

    Raises:
        UsageError: rows, settings or data sets that do not fit the table.
        WeightsError: a weights file cannot be read.
    """
    found: dict[Path, Training] = {}
    for line in order.lines():
        recipe = order.recipe(line)
        for column in columns(order.table, order.data) if recipe else ():
            if recipe is None or not {column.train, column.test} <= set(order.data):
                continue
            for seed in range(order.seeds):
                one = training(order, recipe, line, column, seed)
                found[one.folder] = _joined(found.get(one.folder), one)
    return list(found.values())


def training(order: Order, recipe: Recipe, line: Line, column: Column, seed: int) -> Training:
    """The run behind one cell of a table."""
    found = _runs(order, recipe, column)
    return Training(
        recipe=recipe,
        data=column.train,
        seed=seed,
        folder=found.get(seed, order.out / "runs" / f"{recipe.name}-{_key(order, recipe, column)}-seed{seed}"),
        weights=weights_of(order, recipe),
        searches={column.test: (line.search,)},
        titles=(line.title,),
    )


def folders(order: Order, recipe: Recipe, line: Line, column: Column) -> tuple[Path, ...]:
    """The runs of a cell: those that are asked for, and those that were made with other seeds before."""
    asked = range(order.seeds) if line in order.lines() else ()
    seeds = sorted({*asked, *_runs(order, recipe, column)})
    return tuple(training(order, recipe, line, column, seed).folder for seed in seeds)


def _runs(order: Order, recipe: Recipe, column: Column) -> dict[int, Path]:
    """The runs that are there, by seed. A folder is named after a recipe, for people; another name serves as well."""
    name = re.compile(rf".*-{re.escape(_key(order, recipe, column))}-seed(\d+)")
    places = sorted((order.out / "runs").glob(f"*-{recipes.digest(recipe)[:10]}-*"), reverse=True)
    return {int(match[1]): path for path in places if (match := name.fullmatch(path.name))}


def _key(order: Order, recipe: Recipe, column: Column) -> str:
    """What tells runs apart, but for their seed."""
    weights = weights_of(order, recipe)
    start = f"-from-{_digest_of(weights)}" if weights else ""
    return f"{recipes.digest(recipe)[:10]}-{column.train}{start}"


def weights_of(order: Order, recipe: Recipe) -> Path | None:
    """The file that a recipe's network starts from; None is from scratch."""
    return order.weights.get(recipe.network.backbone, order.weights.get(""))


def _digest_of(path: Path) -> str:
    try:
        return _file_digest(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give a .safetensors or .pth file") from None


@lru_cache(maxsize=64)
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:6]


def _joined(first: Training | None, second: Training) -> Training:
    if first is None:
        return second
    searches = dict(first.searches)
    for name, ways in second.searches.items():
        searches[name] = (*searches.get(name, ()), *(way for way in ways if way not in searches.get(name, ())))
    return dataclasses.replace(first, searches=searches, titles=tuple(dict.fromkeys((*first.titles, *second.titles))))
