"""BDB (BFE): a second branch that a block of rows is dropped from (Dai et al., arXiv:1811.07130)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

BDB = replace(
    STRONG,
    name="bdb",
    network=replace(STRONG.network, head="bdb"),
    images=replace(STRONG.images, height=384),
    triplet=Triplet(form="soft"),
    center=Center(),
)

ROWS = (
    Row(
        name="bdb",
        title="BDB (BFE)",
        recipe=BDB,
        published=scores((95.3, 86.7), (89.0, 76.0)),
        note="Its released weights give 94.6 / 85.5. BFE, its first version, has 94.5 / 85.0.",
    ),
)
