"""Mancs: attention, and focal losses on two inner stages (Wang et al., ECCV 2018), by its paper alone."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

MANCS = replace(
    STRONG, name="mancs", network=replace(STRONG.network, head="mancs", blocks="attention"), center=Center()
)

CURRICULUM = replace(MANCS, name="mancs-curriculum", triplet=replace(MANCS.triplet, curriculum=0.5))

ROWS = (
    Row(
        name="mancs",
        title="Mancs",
        recipe=MANCS,
        published=scores((93.1, 82.3), (84.9, 71.8)),
        note="Its program is not public; curriculum sampling is in mancs-curriculum.",
    ),
    Row(
        name="mancs-curriculum",
        title="Mancs, with a curriculum",
        recipe=CURRICULUM,
        published=scores((93.1, 82.3), (84.9, 71.8)),
        note="The paper says no numbers; by this interpretation the negative's quantile falls over half a run.",
    ),
)
