"""AWTL: triplets of means weighted by the softmax of their distances (Ristani and Tomasi, arXiv:1803.10859)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

AWTL = replace(STRONG, name="awtl", triplet=Triplet(form="soft", mining="weighted"), center=Center())

ROWS = (
    Row(
        name="awtl",
        title="AWTL",
        recipe=AWTL,
        published=scores((89.5, 75.7), (79.8, 63.4)),
        note="On TriNet's head, with half of a batch from a pool of hard ids.",
    ),
)
