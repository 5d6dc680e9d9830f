"""The name of a changed recipe."""

from __future__ import annotations

import dataclasses
import re

import pytest

from reidkit import recipe as recipes
from reidkit.recipes import beyond, by_name, changes, changes_of, get_recipe, named, origin_of
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.train.run import resolve_stride

STRONG = get_recipe("strong-baseline")


def changed(*settings, origin=STRONG):
    return named(recipes.override(origin, list(settings)), origin)


def test_one_change_by_hand():
    made = changed("optim.lr=1")
    assert made.name == f"strong-baseline-lr1-{recipes.digest(made)[:6]}"
    assert changes_of(made) == {"optim.lr": (1.0, STRONG.optim.lr)}


@pytest.mark.parametrize("settings", [(), ("optim.lr=0.00035",), ("optim.lr=3.5e-4", "erasing.probability=0.5")])
def test_what_changes_nothing_has_the_old_name(settings):
    assert changed(*settings).name == "strong-baseline"


def test_the_digest_and_the_fields_do_not_change_by_the_name():
    settings = ["optim.lr=1", "erasing.fill=image-mean"]
    plain = recipes.override(STRONG, settings)
    made = named(plain, STRONG)
    assert recipes.digest(made) == recipes.digest(plain)
    assert dataclasses.replace(made, name=plain.name) == plain


def test_equal_changes_have_one_name_and_different_ones_two():
    assert changed("optim.lr=1", "batch.images=8").name == changed("batch.images=8", "optim.lr=1").name
    assert changed("triplet.weight=2").name != changed("center.weight=2").name
    assert changed("optim.lr=0.001").name != changed("optim.lr=0.01").name
    assert changed("images.height=128").name != changed("images.width=128").name


def test_many_changes_make_a_short_name_that_any_system_takes():
    many = ("optim.drops=[20,27,31,40,50]", "erasing.fill=image-mean", "optim.lr=1e-9", "network.embedding=64")
    for settings in (many, many[:1], many[1:2]):
        name = changed(*settings).name
        assert len(name) <= len("strong-baseline") + 24 + 7
        assert re.fullmatch(r"[A-Za-z0-9.-]+", name)


def test_a_name_of_ones_own_stays():
    assert changed("name=mine", "optim.lr=1").name == "mine"
    mine = dataclasses.replace(STRONG, name="mine")
    assert changed("optim.lr=1", origin=mine).name.startswith("mine-lr1-")
    assert origin_of(mine) is None
    assert changes_of(changed("optim.lr=1", origin=mine)) == {}


def test_a_changed_recipe_that_is_changed_again_is_one_change_of_its_origin():
    twice = changed("batch.images=8", origin=changed("optim.lr=1"))
    assert twice == changed("optim.lr=1", "batch.images=8")
    back = changed(f"optim.lr={STRONG.optim.lr}", origin=changed("optim.lr=1"))
    assert back == STRONG


def test_an_edited_file_that_kept_the_name_is_a_changed_recipe():
    edited = recipes.override(STRONG, ["optim.lr=1"])
    assert named(edited, edited) == changed("optim.lr=1")


def test_a_reading_is_a_change():
    made = named(interpret(STRONG, "fast-reid"), STRONG)
    assert made.name.startswith("strong-baseline-")
    assert changes_of(made)


def test_a_stride_that_the_weights_placed_is_no_change():
    for recipe in (STRONG, changed("optim.lr=1")):
        settled = resolve_stride(recipe, None)
        assert settled.network.stride_in == "3x3"
        assert changes_of(settled) == changes_of(recipe)
        assert named(settled, settled).name == recipe.name
    told = changed("network.stride_in=1x1")
    assert told.name != "strong-baseline"
    assert changes_of(told) == {"network.stride_in": ("1x1", "auto")}


def test_methods_have_twins_by_name():
    for recipe in (row.recipe for row in beyond.METHODS if row.recipe):
        assert get_recipe(f"small-{recipe.name}") == beyond.small(recipe)
        assert get_recipe(f"short-{recipe.name}") == beyond.brief(recipe)


def test_origins_of_every_recipe_are_themselves():
    """`small-strong-baseline` is no change of another recipe, and a name that only begins alike is nobody's."""
    for name, recipe in by_name().items():
        assert origin_of(recipe) == recipe
        assert named(recipe, recipe).name == name
        assert changes(recipe, recipe) == {}
    assert origin_of(dataclasses.replace(STRONG, name="strong-baseline-mine")) is None
