"""PSE: fourteen keypoint maps as more channels (Sarfraz et al., arXiv:1711.10378)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

PSE = replace(STRONG, name="pse", network=replace(STRONG.network, masks="keypoints"))

ROWS = (
    Row(
        name="pse",
        title="PSE",
        recipe=PSE,
        published=scores((87.7, 69.0), (79.8, 62.0)),
        note="Needs keypoints; its units for views are left out. The scores are those that Table 4 prints beside PIE.",
    ),
)
