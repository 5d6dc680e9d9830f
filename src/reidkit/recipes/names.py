"""The name of a changed recipe, and what was changed: `strong-baseline` with another rate is not `strong-baseline`."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.recipes import by_name

if TYPE_CHECKING:
    from reidkit.recipe import Recipe

WORDS = 24
"""Characters of a name that say what was changed; what finds no room is told apart by the digest alone."""

DIGITS = 6
"""Of the digest, at the end of the name of a changed recipe."""


def named(recipe: Recipe, origin: Recipe) -> Recipe:
    """The recipe `origin` after changes, under a name of its own where they changed anything.

    `strong-baseline` with `optim.lr=1` becomes `strong-baseline-lr1-` and six digits of its digest, which depends on no
    name. Equal recipes get equal names, however they were made. A name that was set (`name=mine`) stays.
    """
    if recipe.name != origin.name:
        return recipe
    known = origin_of(origin)
    base = known if known and _named_after(origin, known) else origin
    if recipe.network.stride_in == origin.network.stride_in:  # as weights have placed it before: no change
        recipe = _unsettled(recipe, base)
    return dataclasses.replace(recipe, name=_name(recipe, base) if changes(recipe, base) else base.name)


def origin_of(recipe: Recipe) -> Recipe | None:
    """The recipe of reidkit that this one was made from, by its name; None where the name is the user's own."""
    known = by_name()
    for name in sorted(known, key=len, reverse=True):
        if recipe.name == name or re.fullmatch(rf"{re.escape(name)}(-[\w.-]+)?-[0-9a-f]{{{DIGITS}}}", recipe.name):
            return known[name]
    return None


def changes(recipe: Recipe, origin: Recipe) -> dict[str, tuple[Any, Any]]:
    """Each field in which `recipe` differs from `origin`, with both values: `{"optim.lr": (1.0, 0.00035)}`."""
    mine, theirs = (dict(_leaves(recipes.to_json(each))) for each in (recipe, origin))
    return {key: (mine[key], theirs[key]) for key in mine if key != "name" and mine[key] != theirs[key]}


def changes_of(recipe: Recipe, given: Recipe | None = None) -> dict[str, tuple[Any, Any]]:
    """What was changed in the recipe that this one was made from, or in `given`; nothing where neither is known.

    A stride that the weights have placed (`auto` in the origin) was changed by nobody.
    """
    origin = origin_of(recipe) or given
    if origin is None:
        return {}
    return changes(_unsettled(recipe, origin) if _named_after(recipe, origin) else recipe, origin)


def network_words(recipe: Recipe) -> str:
    """The network and its input, for the head of a page: `resnet18 at 0.25 of its width, images of 128x64`."""
    network, images = recipe.network, recipe.images
    width = f" at {network.width:g} of its width" if network.width != 1 else ""
    return f"{network.backbone}{width}, images of {images.height}x{images.width}"


def _named_after(recipe: Recipe, origin: Recipe) -> bool:
    """Whether the recipe has the origin's name, or the one that `named` made from it before its stride was placed."""
    return recipe.name in (origin.name, _name(_unsettled(recipe, origin), origin))


def _name(recipe: Recipe, origin: Recipe) -> str:
    words, room = "", WORDS
    for key, (value, _) in changes(recipe, origin).items():
        word = f"-{key.rpartition('.')[2]}{_value(value)}"
        if len(word) <= room:
            words, room = words + word, room - len(word)
    return f"{origin.name}{words}-{recipes.digest(recipe)[:DIGITS]}"


def _value(value: object) -> str:
    """A value as a file's name can have it, on every system."""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    word = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    return f"-{word}" if word[:1].isalpha() else word


def _unsettled(recipe: Recipe, origin: Recipe) -> Recipe:
    if origin.network.stride_in != "auto" or recipe.network.stride_in == "auto":
        return recipe
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in="auto"))


def _leaves(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, inner in value.items():
        found += _leaves(inner, f"{prefix}{key}.") if isinstance(inner, dict) else [(prefix + key, inner)]
    return found
