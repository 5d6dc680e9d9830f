"""CamStyle: images in the style of other cameras, by their colours (Zhong et al., CVPR 2018, arXiv:1711.10295)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

CAMSTYLE = replace(STRONG, name="camstyle", images=replace(STRONG.images, exchange=0.25))
"""A quarter of the images, as in the batches of its program: 46 made beside 128 real ones."""

ROWS = (
    Row(
        name="camstyle",
        title="CamStyle",
        recipe=CAMSTYLE,
        published=scores((88.1, 68.7), (75.3, 53.5)),
        note="By itself its images are drawn by a CycleGAN for each pair of cameras; here they get colours alone.",
    ),
)
