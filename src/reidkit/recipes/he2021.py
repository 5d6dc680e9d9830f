"""TransReID: vision transformers with overlapping patches, cameras and the jigsaw (He et al., arXiv:2102.04378)."""

from __future__ import annotations

from dataclasses import replace

from reidkit.recipe import Center, Identity, Network, Optim, Triplet
from reidkit.recipes.luo2019.ladder import STRONG
from reidkit.recipes.paper_table import Row, scores

VIT_BASE = replace(
    STRONG,
    name="vit-base",
    network=Network(backbone="vit-base", head="token", neck="bnneck"),
    identity=Identity(),
    triplet=Triplet(form="soft"),
    center=Center(),
    optim=Optim(name="sgd", lr=0.008, weight_decay=1e-4, schedule="cosine", floor=1.6e-5, warmup_epochs=5, drops=()),
)
VIT_SMALL = replace(VIT_BASE, name="vit-small", network=replace(VIT_BASE.network, backbone="vit-small"))
TRANSREID_SMALL = replace(
    VIT_BASE,
    name="transreid-small",
    network=replace(
        VIT_BASE.network, backbone="vit-small", head="jigsaw", patch_stride=12, position_grid=(21, 10), cameras=6
    ),
)

ROWS = (
    Row(
        name="vit-base",
        title="ViT-B/16",
        recipe=VIT_BASE,
        published=scores((94.6, 87.1), (89.0, 79.6), (81.8, 61.8)),
        note="TransReID's baseline; MSMT17 on train and val.",
    ),
    Row(
        name="vit-small",
        title="ViT-S/16",
        recipe=VIT_SMALL,
        note="The authors publish DeiT-B and ViT-B alone.",
    ),
    Row(
        name="transreid-small",
        title="TransReID, small",
        recipe=TRANSREID_SMALL,
        note="Published larger: DeiT-B 95.1 / 88.5 and 84.0 / 66.3 on MSMT17 (train and val); six cameras here.",
    ),
)
