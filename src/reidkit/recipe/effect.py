"""Which fields of a recipe change nothing, as others switch off what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.recipe.network_section import BACKBONES
from reidkit.recipe.text import leaves

if TYPE_CHECKING:
    from reidkit.recipe.sections import Recipe


def without_effect(recipe: Recipe) -> dict[str, str]:
    """Return each field that changes nothing, and why: `{"triplet.margin": "triplet.form=soft", ...}`."""
    found: dict[str, str] = {}
    for why, holds, keys in _switches(recipe):
        if holds:
            every = leaves(recipe) if keys.endswith(".*") else {}
            inside = [key for key in every if key.startswith(keys[:-1]) and key != why.partition("=")[0]]
            found |= dict.fromkeys(inside or keys.split(), why)
    return found


def _switches(recipe: Recipe) -> tuple[tuple[str, bool, str], ...]:
    """What switches fields off: the setting, whether it is so, and these fields, or all others of a section."""
    network, identity, optim = recipe.network, recipe.identity, recipe.optim
    vit = network.backbone in BACKBONES["vit"]
    return (
        (
            f"network.backbone={network.backbone}",
            not vit,
            "network.patch_stride network.position_grid network.drop_path",
        ),
        (f"network.head={network.head}", network.head != "jigsaw", "network.jigsaw_shift"),
        (f"network.head={network.head}", network.head != "svdnet", "network.orthogonal_every"),
        (f"network.head={network.head}", network.head != "aligned", "aside.margin"),
        (f"network.head={network.head}", network.head not in {"aligned", "scpnet", "mancs"}, "aside.weight"),
        (f"network.masks={network.masks}", network.masks != "labels", "network.regions"),
        ("images.exchange=0", not recipe.images.exchange, "images.exchange_by"),
        ("erasing.probability=0", not recipe.erasing.probability, "erasing.*"),
        ("identity.logits=linear", identity.logits == "linear", "identity.scale identity.margin"),
        (f"network.neck={network.neck}", _has_bias(recipe), "identity.init identity.std"),
        ("identity.smoothing=0", not identity.smoothing, "identity.smoothing_over"),
        ("identity.init=kaiming", identity.init == "kaiming", "identity.std"),
        ("identity.weight=0", not identity.weight, "identity.*"),
        ("triplet.form=soft", recipe.triplet.form == "soft", "triplet.margin"),
        ("triplet.weight=0", not recipe.triplet.weight, "triplet.*"),
        ("center.weight=0", not recipe.center.weight, "center.*"),
        ("pair.loss=contrastive", recipe.pair.loss == "contrastive", "pair.margin"),
        (f"pair.loss={recipe.pair.loss}", recipe.pair.loss.startswith("centroid"), "pair.scale"),
        ("pair.weight=0", not recipe.pair.weight, "pair.*"),
        (f"optim.name={optim.name}", optim.name != "sgd", "optim.momentum"),
        ("optim.schedule=cosine", optim.schedule == "cosine", "optim.drops optim.gamma"),
        ("optim.schedule=steps", optim.schedule == "steps", "optim.flat optim.floor"),
        ("optim.warmup_epochs=0", not optim.warmup_epochs, "optim.warmup"),
    )


def _has_bias(recipe: Recipe) -> bool:
    """Whether the classifier has a bias, and is then drawn as torch draws it."""
    return recipe.network.neck in {"none", "bn-relu"} and recipe.identity.logits == "linear"
