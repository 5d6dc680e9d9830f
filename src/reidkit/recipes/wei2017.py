"""GLAD: the whole, head, upper and lower body by keypoints (Wei et al., arXiv:1709.04329)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

GLAD = replace(STRONG, name="glad", network=replace(STRONG.network, head="glad", masks="keypoints"), center=Center())

ROWS = (
    Row(
        name="glad",
        title="GLAD",
        recipe=GLAD,
        published=scores((89.9, 73.9)),
        note="Needs keypoints. By itself four GoogLeNets with shared weights, each on a box of the image.",
    ),
)
