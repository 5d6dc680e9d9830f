"""TriNet: the batch-hard triplet loss alone, with a soft margin, on 128 numbers (Hermans et al., arXiv:1703.07737)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Batch, Center, Identity, Network, Triplet
from reidkit.recipes.luo2019.ladder import EUCLIDEAN, STRONG
from reidkit.recipes.paper_table import Row, scores

TRINET = replace(
    STRONG,
    name="trinet",
    network=Network(last_stride=1, head="trinet"),
    batch=Batch(ids=18, images=4),
    identity=Identity(weight=0.0),
    triplet=Triplet(form="soft"),
    center=Center(),
)

ROWS = (
    Row(
        name="trinet",
        title="TriNet",
        recipe=TRINET,
        search=EUCLIDEAN,
        published=scores((84.9, 69.1)),
        note="Means of five crops and their mirror images; its released weights give 83.4 / 66.9.",
    ),
)
