"""Pyramid: ID and triplet losses of all runs of stripes (Zheng et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

PYRAMID = replace(
    STRONG,
    name="pyramid",
    network=replace(STRONG.network, head="pyramid"),
    images=replace(STRONG.images, height=384),
    triplet=Triplet(margin=1.4, unit=True),
    center=Center(),
)

DYNAMIC = replace(
    PYRAMID,
    name="pyramid-dynamic",
    identity=replace(PYRAMID.identity, over="sum"),
    triplet=replace(PYRAMID.triplet, over="sum", dynamic=True),
)

ROWS = (
    Row(
        name="pyramid",
        title="Pyramid",
        recipe=PYRAMID,
        published=scores((95.7, 88.2), (89.0, 79.0)),
        note="Its authors' program is set to a ResNet-101, and has 95.2 / 88.6 and 89.6 / 80.4.",
    ),
    Row(
        name="pyramid-dynamic",
        title="Pyramid, losses chosen by step",
        recipe=DYNAMIC,
        published=scores((95.7, 88.2), (89.0, 79.0)),
        note="As its program: losses are summed over branches, and the triplet losses left out of some steps.",
    ),
)
