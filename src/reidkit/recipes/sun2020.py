"""Circle loss beside the ID loss, in the place of the triplet loss (Sun et al., arXiv:2002.10857)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Pair, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

CIRCLE = replace(
    STRONG,
    name="circle",
    triplet=Triplet(weight=0.0),
    center=Center(),
    pair=Pair(loss="circle", weight=1.0, margin=0.25, scale=128.0),
)

ROWS = (
    Row(
        name="circle",
        title="Circle loss",
        recipe=CIRCLE,
        published=scores((94.2, 84.9), None, (76.3, 50.2)),
        note="As the only loss of its paper; with MGN 96.1 / 87.4. Part of MSMT17 not said.",
    ),
)
