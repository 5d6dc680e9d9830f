"""PCB: an ID loss for each of six stripes, without a triplet loss (Sun et al., arXiv:1711.09349)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

PCB = replace(
    STRONG,
    name="pcb",
    network=replace(STRONG.network, head="pcb"),
    images=replace(STRONG.images, height=384),
    triplet=Triplet(weight=0.0),
    center=Center(),
)
RPP = replace(PCB, name="pcb-rpp", network=replace(PCB.network, head="rpp"))

ROWS = (
    Row(
        name="pcb",
        title="PCB",
        recipe=PCB,
        published=scores((92.3, 77.4), (81.8, 66.1), (78.5, 55.5)),
        note="YouReID's on MSMT17 (part not said): 0.8 mAP over its baseline there, 2.7 below it on Market-1501.",
    ),
    Row(
        name="pcb-rpp",
        title="PCB+RPP",
        recipe=RPP,
        published=scores((93.8, 81.6), (83.3, 69.2)),
        note="In four stages; nobody else reports the gain.",
    ),
)
