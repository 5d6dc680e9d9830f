"""PIE: the whole beside torso, arms and legs by keypoints (Zheng et al., arXiv:1701.07732)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

PIE = replace(STRONG, name="pie", network=replace(STRONG.network, head="pie", masks="keypoints"), center=Center())

ROWS = (
    Row(
        name="pie",
        title="PIE",
        recipe=PIE,
        published=scores((78.7, 56.0)),
        note="Needs keypoints. By itself limbs are warped into a box. Scores are those that Table 4 prints beside PSE.",
    ),
)
