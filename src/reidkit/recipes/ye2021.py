"""AGW: non-local blocks, generalised mean, weighted triplets (Ye et al., TPAMI 2021, arXiv:2001.04193)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

AGW = replace(
    STRONG,
    name="agw",
    network=replace(STRONG.network, pool="gem", blocks="nonlocal-as-published"),
    triplet=Triplet(form="soft", mining="weighted"),
)
AGW_AS_PUBLISHED = replace(AGW, name="agw-as-published", triplet=Triplet(form="soft", mining="weighted-as-published"))

_CLAIM = scores((95.1, 87.8), (89.0, 79.6), (68.3, 49.3))
_NOTE = "MSMT17 on train alone. Its non-local blocks have one channel inside."

ROWS = (
    Row(name="agw", title="AGW", recipe=AGW, published=_CLAIM, note=_NOTE),
    Row(
        name="agw-as-published",
        title="AGW, as its program",
        recipe=AGW_AS_PUBLISHED,
        published=_CLAIM,
        note=_NOTE,
    ),
)
