"""The digest that a checkpoint carries: a field that came later must not change it."""

import dataclasses

from reidkit import recipe as recipes
from reidkit.recipe import ADDED, Identity, Images, Network, Recipe
from reidkit.recipes import get_recipe


def test_runs_begun_before_a_field_was_added_go_on():
    """These are the digests of the version without any field of `ADDED`."""
    assert recipes.digest(get_recipe("short-strong-baseline")) == "a2edec1ca7dc6017"
    assert recipes.digest(get_recipe("strong-baseline")) == "2028a15b3b073a42"
    assert recipes.digest(get_recipe("small-warmup")) == "efa5fa5b215413a0"


def test_a_recipe_without_the_new_fields_is_the_same():
    value = recipes.to_json(get_recipe("strong-baseline"))
    for section, leaf in (key.split(".") for key in ADDED):
        del value[section][leaf]
    old = recipes.from_json(value)
    assert recipes.digest(old) == recipes.digest(get_recipe("strong-baseline"))
    assert recipes.differences(old, get_recipe("strong-baseline")) == []


def test_a_new_field_counts_once_it_is_used():
    changed = (
        Recipe(images=Images(resize="bicubic")),
        Recipe(identity=Identity(std=0.01)),
        Recipe(identity=Identity(spread="others")),
        Recipe(identity=Identity(sampled=100)),
        Recipe(network=Network(neck="l2")),
        Recipe(),
    )
    assert len({recipes.digest(recipe) for recipe in changed}) == len(changed)
    assert recipes.digest(dataclasses.replace(Recipe(), name="other")) == recipes.digest(Recipe())
