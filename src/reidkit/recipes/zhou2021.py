"""MixStyle: the styles of two images are mixed in the first stages (Zhou et al., arXiv:2104.02008)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row

MIXSTYLE = replace(STRONG, name="mixstyle", network=replace(STRONG.network, mixstyle=0.5))

ROWS = (
    Row(
        name="mixstyle",
        title="MixStyle",
        recipe=MIXSTYLE,
        note="Published from one data set to another only: mAP 19.3 to 23.8 from Market-1501 to DukeMTMC-reID.",
    ),
)
