"""Fields that others switch off."""

from __future__ import annotations

import pytest

from reidkit import recipe as recipes
from reidkit.recipe import Recipe, leaves
from reidkit.recipe.effect import without_effect


@pytest.mark.parametrize(
    ("settings", "key", "why"),
    [
        (["triplet.form=soft"], "triplet.margin", "triplet.form=soft"),
        (["triplet.weight=0"], "triplet.mining", "triplet.weight=0"),
        (["optim.schedule=cosine"], "optim.gamma", "optim.schedule=cosine"),
        ([], "optim.flat", "optim.schedule=steps"),
        ([], "erasing.fill", "erasing.probability=0"),
        ([], "center.lr", "center.weight=0"),
        ([], "identity.std", "network.neck=none"),
        (["network.neck=bnneck", "identity.init=kaiming"], "identity.std", "identity.init=kaiming"),
        (["network.backbone=osnet-x1_0"], "network.drop_path", "network.backbone=osnet-x1_0"),
    ],
)
def test_by_hand(settings: list[str], key: str, why: str) -> None:
    assert without_effect(recipes.override(Recipe(), settings))[key] == why


def test_what_is_switched_on_has_an_effect_and_the_switch_always() -> None:
    changes = ["center.weight=1", "erasing.probability=1", "pair.weight=1", "optim.name=sgd", "network.neck=bnneck"]
    on = without_effect(recipes.override(Recipe(), changes))
    off = without_effect(recipes.override(Recipe(), ["identity.weight=0", "pair.weight=1"]))
    assert not {"center.lr", "erasing.area", "pair.margin", "optim.momentum", "identity.std"} & on.keys()
    assert not {"identity.weight", "pair.weight", "center.weight", "erasing.probability"} & (on.keys() | off.keys())
    assert (on.keys() | off.keys()) <= leaves(Recipe()).keys()
