"""SCPNet: branches that follow stripes (Fan et al., arXiv:1810.06996)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Aside, Center
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

SCPNET = replace(
    STRONG,
    name="scpnet",
    network=replace(STRONG.network, head="scpnet"),
    aside=Aside(weight=10.0),
    center=Center(),
)

ROWS = (
    Row(
        name="scpnet",
        title="SCPNet",
        recipe=SCPNET,
        published=scores((91.2, 75.2), (80.3, 62.6)),
        note="Trained on four data sets together; its program alone has 90.4 / 74.9 and 81.2 / 64.5.",
    ),
)
