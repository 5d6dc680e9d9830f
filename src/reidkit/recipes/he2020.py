"""SBS, the strongest setting of fast-reid (He et al., arXiv:2006.02631)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Batch, Center, Identity, Network, Optim, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

SBS = replace(
    STRONG,
    name="sbs",
    network=Network(last_stride=1, neck="bnneck", pool="gem", blocks="nonlocal-as-published", stem_pool="ceil"),
    images=replace(STRONG.images, height=384, resize="bicubic", augment=0.1),
    batch=Batch(ids=4, images=16),
    identity=Identity(smoothing=0.1, smoothing_over="others", logits="circle", scale=64.0, margin=0.35, std=0.01),
    triplet=Triplet(form="soft", on="f_i"),
    center=Center(),
    optim=Optim(epochs=60, schedule="cosine", flat=30, floor=7e-7, warmup_steps=2000, freeze=1000, drops=()),
)

ROWS = (
    Row(
        name="sbs",
        title="SBS of fast-reid",
        recipe=SBS,
        published=scores((95.4, 88.2), (90.3, 80.3), (81.8, 58.4)),
        note="MSMT17 on train alone.",
    ),
)
