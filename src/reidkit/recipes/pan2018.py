"""IBN-a and IBN-b: instance norms in the first stages (Pan et al., arXiv:1807.09441)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

IBN_A = replace(STRONG, name="strong-resnet50-ibn-a", network=replace(STRONG.network, backbone="resnet50-ibn-a"))
IBN_B = replace(STRONG, name="strong-resnet50-ibn-b", network=replace(STRONG.network, backbone="resnet50-ibn-b"))

ROWS = (
    Row(
        name="strong-resnet50-ibn-a",
        title="IBN-a",
        recipe=IBN_A,
        published=scores((95.0, 88.2), (90.1, 79.1), (77.0, 54.4)),
        note="By the strong baseline's authors; fast-reid's on MSMT17, trained on train alone.",
    ),
    Row(name="strong-resnet50-ibn-b", title="IBN-b", recipe=IBN_B),
)
