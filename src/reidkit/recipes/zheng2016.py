"""IDE: the ID loss alone, a softmax over the training ids on the pooled feature (Zheng et al., arXiv:1610.02984)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Triplet
from reidkit.recipes.luo2019.ladder import EUCLIDEAN, STANDARD
from reidkit.recipes.paper_table import Row, scores

IDE = replace(STANDARD, name="ide", triplet=Triplet(weight=0.0))

ROWS = (
    Row(
        name="ide",
        title="IDE",
        recipe=IDE,
        search=EUCLIDEAN,
        published=scores((79.5, 59.9), None, (63.2, 33.9)),
        note="Table 4's score; torchreid's on MSMT17 (train alone). The original has 73.9 / 47.8.",
    ),
)
