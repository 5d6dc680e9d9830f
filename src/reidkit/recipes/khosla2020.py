"""Supervised contrastive loss beside the ID loss (Khosla et al., NeurIPS 2020, arXiv:2004.11362)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Pair, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row

CONTRASTIVE = replace(
    STRONG,
    name="supcon",
    triplet=Triplet(weight=0.0),
    center=Center(),
    pair=Pair(loss="contrastive", weight=1.0, scale=10.0),
)

ROWS = (Row(name="supcon", title="Contrastive", recipe=CONTRASTIVE),)
