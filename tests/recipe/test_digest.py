"""The digest that a checkpoint carries: a field or a section that came later must not change it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipe import Identity, Images, Network, Optim, Recipe, Section
from reidkit.recipe.text import ORIGINAL
from reidkit.recipes import get_recipe


@dataclass(frozen=True, kw_only=True)
class Circle(Section):
    """A section of a later release."""

    weight: float = 0.0
    scale: float = 64.0


@dataclass(frozen=True, kw_only=True)
class LaterOptim(Optim):
    """A section with one field more."""

    prefix = "optim."

    sharpness: float = 0.9


@dataclass(frozen=True, kw_only=True)
class LaterRecipe(Recipe):
    """The recipe of a later release."""

    circle: Circle = field(default_factory=Circle)
    optim: LaterOptim = field(default_factory=LaterOptim)


def later(name: str, **changes: object) -> LaterRecipe:
    value = recipes.to_json(get_recipe(name))
    made = recipes.from_json(value, kind=LaterRecipe)
    assert isinstance(made, LaterRecipe)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("short-strong-baseline", "a2edec1ca7dc6017"),
        ("strong-baseline", "2028a15b3b073a42"),
        ("small-warmup", "efa5fa5b215413a0"),
    ],
)
def test_runs_begun_with_the_first_release_go_on(name: str, digest: str) -> None:
    """These are its digests. A later section and a later field with their defaults leave them as they are."""
    assert recipes.digest(get_recipe(name)) == digest
    assert recipes.digest(later(name)) == digest


def test_a_later_section_or_field_counts_once_it_is_used() -> None:
    found = {
        recipes.digest(later("strong-baseline", circle=circle, optim=optim))
        for circle in (Circle(), Circle(weight=1.0), Circle(scale=32))
        for optim in (LaterOptim(), LaterOptim(sharpness=0.8))
    }
    assert len(found) == 6


def test_settings_and_files_reach_a_later_section() -> None:
    changed = recipes.override(later("strong-baseline"), ["circle.weight=0.5", "optim.sharpness=0.8"])
    assert isinstance(changed, LaterRecipe)
    assert (changed.circle.weight, changed.optim.sharpness) == (0.5, 0.8)
    assert recipes.from_json(recipes.to_json(changed), kind=LaterRecipe) == changed


def test_a_recipe_of_the_first_release_is_the_same() -> None:
    """Without every field that came later, as its file has it."""
    value = recipes.to_json(get_recipe("strong-baseline"))
    for section, leaves in value.items():
        for leaf in list(leaves) if isinstance(leaves, dict) else []:
            if f"{section}.{leaf}" not in ORIGINAL | {"center.form"}:
                del leaves[leaf]
    value["center"]["reading"] = {"mean": "code", "paper": "paper"}[value["center"].pop("form")]
    old = recipes.from_json(value)
    assert recipes.digest(old) == recipes.digest(get_recipe("strong-baseline"))
    assert recipes.differences(old, get_recipe("strong-baseline")) == []


def test_a_new_field_counts_once_it_is_used() -> None:
    changed = (
        Recipe(images=Images(resize="bicubic")),
        Recipe(identity=Identity(std=0.01)),
        Recipe(identity=Identity(smoothing_over="others")),
        Recipe(identity=Identity(sampled=100)),
        Recipe(network=Network(neck="l2")),
        Recipe(),
    )
    assert len({recipes.digest(recipe) for recipe in changed}) == len(changed)
    assert recipes.digest(dataclasses.replace(Recipe(), name="other")) == recipes.digest(Recipe())


def test_a_whole_number_for_a_fraction_is_the_same_recipe() -> None:
    assert recipes.digest(Recipe(optim=Optim(lr=1))) == recipes.digest(Recipe(optim=Optim(lr=1.0)))


@pytest.mark.parametrize(
    ("before", "now", "digest"),
    [
        (["center.reading=paper"], ["center.form=paper"], "20e9a364fc8d9327"),
        (["center.reading=code"], ["center.form=mean"], "2028a15b3b073a42"),
        (["identity.spread=others"], ["identity.smoothing_over=others"], "ff00447ba8fc09e4"),
        (["batch.parts=4"], ["batch.micro_batches=4"], "1468bc0279056302"),
    ],
)
def test_keys_and_values_that_were_renamed_are_read_and_digested_as_before(
    before: list[str], now: list[str], digest: str
) -> None:
    """The digests are those of the release that had the keys of `before`."""
    recipe = get_recipe("strong-baseline")
    changed = recipes.override(recipe, now)
    assert recipes.override(recipe, before) == changed
    key, _, value = before[0].partition("=")
    section, leaf = key.split(".")
    file = recipes.to_json(recipe)
    del file[section][now[0].partition("=")[0].partition(".")[2]]
    file[section][leaf] = int(value) if value.isdecimal() else value
    assert recipes.from_json(file) == changed
    assert recipes.digest(changed) == digest


def test_a_key_under_both_names_is_refused() -> None:
    with pytest.raises(UsageError, match=r"what center\.form was called before: give center\.form alone"):
        recipes.from_json({"center": {"reading": "code", "form": "mean"}})
