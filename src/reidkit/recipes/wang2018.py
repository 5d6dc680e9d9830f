"""MGN: copies of the last stages for the whole, halves and thirds (Wang et al., arXiv:1804.01438)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

MGN = replace(
    STRONG,
    name="mgn",
    network=replace(STRONG.network, head="mgn", pool="max"),
    images=replace(STRONG.images, height=384),
    triplet=Triplet(form="soft"),
    center=Center(),
)

ROWS = (
    Row(
        name="mgn",
        title="MGN",
        recipe=MGN,
        published=scores((95.7, 86.9), (88.7, 78.4), (83.3, 61.7)),
        note="YouReID's on MSMT17 (part not said); fast-reid's with IBN has 85.1 / 65.4 there, trained on train alone.",
    ),
)
