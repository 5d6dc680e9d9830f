"""SPReID: features pooled by a parsing of the person (Kalayeh et al., arXiv:1804.00216)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

SPREID = replace(STRONG, name="spreid", network=replace(STRONG.network, head="spreid", masks="labels"), center=Center())

ROWS = (
    Row(
        name="spreid",
        title="SPReID",
        recipe=SPREID,
        published=scores((92.5, 81.3), (84.4, 71.0)),
        note="Needs label images. By itself on an Inception-V3, with its own parser, on ten data sets together.",
    ),
)
