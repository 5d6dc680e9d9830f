"""What the small twins of a table start from, as the paper's networks start from ImageNet's weights.

For each backbone one network is trained for a few epochs on people that are drawn for it, beside the runs of the table;
all rows and all seeds share it.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from reidkit import recipe as recipes
from reidkit.paper.measure import is_trained, measure
from reidkit.paper.plan import Training
from reidkit.recipes.bag_of_tricks import start
from reidkit.synth import draw_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.paper.measure import Machine, Watch
    from reidkit.paper.plan import Order
    from reidkit.recipe import Recipe

IDS, CAMERAS, SEED = 800, 6, 7
"""Half of the people are trained with."""

_DRAWN = "drawn people"


def with_starts(order: Order, machine: Machine, watch: Watch) -> Order:
    """The order with a file of weights for each backbone of its small twins that was given none.

    Raises:
        ReidkitError: a row that there is none of; a start cannot be trained or written.
    """
    recipes_here = [recipe for line in order.lines() if (recipe := order.recipe(line))]
    if order.size != "small" or not order.data or "" in order.weights:
        return order
    made: dict[str, Path | None] = {}
    for recipe in recipes_here:
        backbone = recipe.network.backbone
        if backbone not in {**order.weights, **made}:
            made[backbone] = _trained(start(recipe.network), order.out / "start", machine, watch)
    return dataclasses.replace(order, weights={**order.weights, **made})


def _trained(recipe: Recipe, place: Path, machine: Machine, watch: Watch) -> Path:
    folder = place / f"{recipe.name}-{recipes.digest(recipe)[:10]}"
    if not is_trained(folder):
        people = place / "people"
        if not people.is_dir():
            watch.say(f"a start for {recipe.network.backbone}: drawing people into {people}")
            draw_dataset(people, IDS, CAMERAS, SEED, progress=partial(watch.tell, "drawing"))
        one = Training(recipe=recipe, data=_DRAWN, seed=0, folder=folder, weights=None, searches={}, titles=("start",))
        measure(one, {_DRAWN: people}, machine, watch)
    return folder / "model.safetensors"
