"""MaskReID: a mask of the person as a fourth channel (Qi et al., arXiv:1804.03864)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

MASKREID = replace(STRONG, name="maskreid", network=replace(STRONG.network, masks="grey"))

ROWS = (
    Row(
        name="maskreid",
        title="MaskReID",
        recipe=MASKREID,
        published=scores((90.0, 75.3), (78.8, 61.9)),
        note="Needs masks of people, which are an input here; by itself it has branches for the masked image.",
    ),
)
