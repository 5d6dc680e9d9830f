"""What a table of a paper is made of: rows, each a recipe with its published scores, on the data sets of the paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reidkit.recipe import Network, Recipe
    from reidkit.types import FeatureWord, Metric

MARKET, DUKE, MSMT17 = "market1501", "dukemtmc", "msmt17"


class Benchmark(NamedTuple):
    """The numbers of images by which a published data set is recognised, and how to get it."""

    train: int
    query: int
    remedy: str


BENCHMARKS = {
    MARKET: Benchmark(
        12936,
        3368,
        "get Market-1501 from https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html and give "
        "--data market1501=DIR",
    ),
    DUKE: Benchmark(
        16522,
        2228,
        "DukeMTMC-reID was withdrawn by its authors in 2019; with a copy that you may use give --data dukemtmc=DIR",
    ),
    MSMT17: Benchmark(
        30248,
        11659,
        "get MSMT17 from its authors (https://www.pkuvmc.com/dataset.html) and give --data msmt17=DIR",
    ),
}
"""The data sets that published scores are from, by name."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a trained network is evaluated: which feature, which distance, re-ranked or not."""

    feature: FeatureWord = "after"
    metric: Metric = "cosine"
    rerank: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table.

    `published` maps a column to (rank-1, mAP) as fractions. `parent` names the row that this one changes in one point.
    Without a recipe the row is not trained, only shown as published. `note` says what the published scores were made
    with, where that is more than the row says, as the part of MSMT17 that was trained on.
    """

    name: str
    title: str
    recipe: Recipe | None = None
    search: Search = Search()
    parent: str = ""
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A smaller version of a table's recipes, for less time or a smaller machine.

    Args:
        make: the recipe of a row to that of its twin.
        words: what the twins are, for the notes below a table; their epochs are added.
        start: the network of a twin to the recipe that is trained first, on synthetic images, where no weights are
            given; None where a twin starts from the same weights as the row.
    """

    make: Callable[[Recipe], Recipe]
    words: str
    start: Callable[[Network], Recipe] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a paper.

    Args:
        name: as the command line has it, and the table's files.
        title: the heading.
        rows: in their order.
        notes: sentences below the table.
        datasets: the names of the data sets that it is published on.
        cross: trained on one data set and evaluated on another.
        twins: smaller versions by the name of their size.
        interpret: the recipe with the disputed points of the paper decided by the interpretation of that name.
        beyond: columns for mINP, what a network costs, and what was claimed for a method, in whatever setting.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    datasets: tuple[str, ...] = (MARKET, DUKE)
    cross: bool = False
    twins: Mapping[str, Twin] = field(default_factory=dict)
    interpret: Callable[[Recipe, str], Recipe] | None = None
    beyond: bool = False

    def twin(self, recipe: Recipe, size: str) -> Recipe:
        """Return the recipe of a row in a size; that of `full` is the row's own.

        Raises:
            UsageError: the table has no such size.
        """
        if size == "full":
            return recipe
        if size not in self.twins:
            raise UsageError(f"{self.name} has no {size} twins: choose {', '.join(('full', *self.twins))}")
        return self.twins[size].make(recipe)


def scores(
    market: tuple[float, float] | None = None,
    duke: tuple[float, float] | None = None,
    msmt17: tuple[float, float] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return rank-1 and mAP in per cent on three data sets as fractions by data set; None is left out."""
    given = {MARKET: market, DUKE: duke, MSMT17: msmt17}
    return {name: (round(pair[0] / 100, 4), round(pair[1] / 100, 4)) for name, pair in given.items() if pair}
