"""SVDNet: an embedding of 1,024 numbers that is made orthogonal in rounds (Sun et al., ICCV 2017)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

SVDNET = replace(
    STRONG,
    name="svdnet",
    network=replace(STRONG.network, head="svdnet"),
    triplet=Triplet(weight=0.0),
    center=Center(),
)

ROWS = (
    Row(
        name="svdnet",
        title="SVDNet",
        recipe=SVDNET,
        published=scores((82.3, 62.1), (76.7, 56.8)),
        note="With random erasing its authors' network has 87.1 / 71.3.",
    ),
)
