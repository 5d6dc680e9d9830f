"""HA-CNN: a small network with soft and hard attention, from scratch (Li et al., CVPR 2018)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Network, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

HACNN = replace(
    STRONG,
    name="hacnn",
    network=Network(backbone="hacnn", head="windows", neck="bn-relu", unit=True),
    images=replace(STRONG.images, height=160, width=64, pad=6),
    triplet=Triplet(weight=0.0),
    center=Center(),
)

ROWS = (
    Row(
        name="hacnn",
        title="HA-CNN",
        recipe=HACNN,
        published=scores((91.2, 75.7), (80.5, 63.8), (64.7, 37.2)),
        note="torchreid's on MSMT17, trained on train alone.",
    ),
)
