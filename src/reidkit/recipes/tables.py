"""What a table of the paper is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from reidkit.recipes.luo2019.ladder import short, started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.recipe import Recipe

Size = Literal["full", "small", "short"]

MARKET, DUKE = "market1501", "dukemtmc"
CROSS = (f"{MARKET}>{DUKE}", f"{DUKE}>{MARKET}")
"""The columns of Table 3: trained on the one, searched on the other."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a trained network is searched with: which feature, which distance, re-ranked or not."""

    feature: Literal["after", "before"] = "after"
    metric: Literal["cosine", "euclidean"] = "cosine"
    rerank: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table. `published`: fractions (rank-1, mAP) by column; `parent`: the line whose recipe it changes."""

    name: str
    title: str
    recipe: Recipe | None = None
    search: Search = Search()
    parent: str = ""
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper. `cross`: trained on one data set, searched on another. `backbones`: twins keep theirs."""

    name: str
    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    cross: bool = False
    backbones: bool = False

    def twin(self, recipe: Recipe, size: Size) -> Recipe:
        """The recipe of a line at a size that a CPU can train."""
        if size == "full":
            return recipe
        made = short(recipe) if size == "short" else started(recipe)
        if self.backbones:
            made = replace(made, network=replace(made.network, backbone=recipe.network.backbone))
        return made
