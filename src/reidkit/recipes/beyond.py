"""The table of methods on the strong baseline: what came with it and after it, each with the fields that it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from reidkit.recipes import (
    dai2019,
    deng2019,
    fan2018,
    he2020,
    he2021,
    hermans2017,
    kalayeh2018,
    khosla2020,
    li2018,
    luo2019_aligned,
    pan2018,
    qi2018,
    ristani2018,
    sarfraz2018,
    sun2017,
    sun2018,
    sun2020,
    wang2018,
    wang2018_mancs,
    wei2017,
    wieczorek2021,
    ye2021,
    zheng2016,
    zheng2017,
    zheng2019,
    zhong2018,
    zhou2019,
    zhou2021,
)
from reidkit.recipes.luo2019.ladder import STRONG, start
from reidkit.recipes.paper_table import DUKE, MARKET, MSMT17, Row, Table, Twin, scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.recipe import BackboneName, Recipe

BASELINE = "strong-baseline"

PAPERS = (
    zheng2016, hermans2017, ristani2018, sun2017, sun2018, luo2019_aligned, fan2018, li2018, wang2018_mancs, wang2018,
    dai2019, zheng2019, zhong2018, pan2018, zhou2019, he2021, zhou2021, ye2021, he2020, sun2020, khosla2020,
    wieczorek2021, deng2019, wei2017, zheng2017, sarfraz2018, kalayeh2018, qi2018,
)  # fmt: skip
"""The modules with a method each; another one is a name in here."""

METHODS: tuple[Row, ...] = tuple(replace(row, parent=BASELINE) for paper in PAPERS for row in paper.ROWS)

ROWS = (
    Row(
        name=BASELINE,
        title="The strong baseline",
        recipe=STRONG,
        published=scores((94.5, 85.9), (86.4, 76.4), (74.1, 50.2)),
        note="fast-reid's on MSMT17, trained on train alone.",
    ),
    *METHODS,
)

LENGTHS = {"pcb": 64, "rpp": 64, "mgn": 64, "bdb": 64, "pyramid": 32, "trinet": 32, "svdnet": 64, "windows": 128}
"""Numbers of a branch in a narrow network; heads that are not here keep what the recipe says."""

STRIPES = {"pcb": 4, "rpp": 4, "pyramid": 4}
"""Of a map with eight rows, which six do not divide."""


def small(recipe: Recipe) -> Recipe:
    """Return the twin of a method for a CPU: a quarter-width network, 128x64, and one schedule length for all."""
    network, head = recipe.network, recipe.network.head
    narrow = replace(
        network,
        backbone=cast("BackboneName", network.backbone.replace("resnet50", "resnet18")),
        width=0.25,
        embedding=LENGTHS.get(head, 128 if network.embedding else 0),
        stripes=STRIPES.get(head, 0),
    )
    return _twin(replace(recipe, network=narrow), "small", epochs=40)


def brief(recipe: Recipe) -> Recipe:
    """Return the twin of a method for an hour or two: its own network at half the size, 24 epochs for all."""
    network = replace(recipe.network, stripes=STRIPES.get(recipe.network.head, 0))
    return _twin(replace(recipe, network=network), "short", epochs=24)


def _twin(recipe: Recipe, size: str, epochs: int) -> Recipe:
    """Return a recipe with smaller images, and with the baseline's rate and length of the schedule for all.

    What is left of a method's own are the optimiser and the kind of the schedule.
    """
    images = replace(recipe.images, height=160 if recipe.network.backbone == "hacnn" else 128, width=64, pad=5)
    rate = recipe.optim.lr if recipe.optim.name == "sgd" else min(recipe.optim.lr, STRONG.optim.lr)
    optim = replace(
        recipe.optim,
        lr=rate,
        epochs=epochs,
        drops=(round(0.8 * epochs), round(0.95 * epochs)),
        flat=epochs // 2,
        warmup_epochs=3,
        warmup_steps=0,
        freeze=0,
    )
    return replace(recipe, name=f"{size}-{recipe.name}", images=images, optim=optim)


TWINS = {
    "small": Twin(make=small, words="Small twins: quarter-width networks, images of 128x64", start=start),
    "short": Twin(make=brief, words="Short twins: images of 128x64"),
}


def _twins(make: Callable[[Recipe], Recipe]) -> tuple[Row, ...]:
    """Return the methods in another size, which nobody has published scores for."""
    twins = ((row.title, make(row.recipe)) for row in METHODS if row.recipe)
    return tuple(Row(name=twin.name, title=title, recipe=twin) for title, twin in twins)


SMALL = _twins(small)
SHORT = _twins(brief)

TABLE = Table(
    name="beyond",
    title="Beyond the paper: methods on the strong baseline, one change each",
    rows=ROWS,
    notes=(
        "Claimed scores are those of papers and of their programs, in settings of their own.",
        "Parameters and GFLOP (two for each multiply-add) are those of one image without the classifiers.",
    ),
    datasets=(MARKET, DUKE, MSMT17),
    twins=TWINS,
    beyond=True,
)
