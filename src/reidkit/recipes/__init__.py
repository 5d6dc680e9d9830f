"""Named recipes, the names of changed ones, and the tables of papers: one sub-package a paper, listed here.

`strong-baseline` with another rate is not `strong-baseline`: see `named`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipe import changes
from reidkit.recipes import beyond
from reidkit.recipes.luo2019.ladder import ROWS as LADDERS
from reidkit.recipes.luo2019.tables import TABLES as LUO2019

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidkit.recipe import Recipe
    from reidkit.recipes.paper_table import Table


__all__ = [
    "ROWS",
    "TABLES",
    "by_name",
    "changes",
    "changes_of",
    "get_recipe",
    "named",
    "network_words",
    "origin_of",
]

ROWS = (*LADDERS, *beyond.METHODS, *beyond.SMALL)
"""What `reidkit recipes` lists."""

TABLES: dict[str, Table] = {**LUO2019, beyond.TABLE.name: beyond.TABLE}
"""The tables of every paper, by the names that `reidkit paper` knows."""

WORDS = 24
"""Characters of a name that say what was changed; what finds no room is told apart by the digest alone."""

DIGITS = 6
"""Of the digest, at the end of the name of a changed recipe."""


def by_name() -> dict[str, Recipe]:
    """Return every recipe that has a name: those that are listed, short twins, then the others of the tables."""
    rows = (*ROWS, *beyond.SHORT, *(row for table in TABLES.values() for row in table.rows))
    return {row.recipe.name: row.recipe for row in rows if row.recipe}


def get_recipe(name: str | os.PathLike[str], changes: Mapping[str, object] | None = None) -> Recipe:
    """Return the recipe of that name, or that of a `recipe.json` or a run folder.

    With `changes`, as `{"optim.epochs": 60}`, it is changed, and named after them.

    Raises:
        UsageError: no such name or key (the nearest is named), a file that is no recipe, or a value that does not fit.
    """
    if not isinstance(name, str | os.PathLike):
        raise UsageError(
            f"a {type(name).__name__} is no recipe: pass a name, the path of a recipe.json, or what "
            "get_recipe('strong-baseline', {'optim.epochs': 60}) returns",
            argument="recipe",
        )
    found = _find(os.fspath(name))
    return named(recipes.override(found, changes), found) if changes else found


def _find(name: str) -> Recipe:
    known = by_name()
    if name in known:
        return known[name]
    path = _file(name)
    if path is not None:
        return recipes.load(path)
    plain = name.lower().replace("_", "-")
    close = [other for other in known if plain and other.startswith(plain)] or difflib.get_close_matches(
        plain, known, n=1, cutoff=0.6
    )
    remedy = f"did you mean {close[0]}?" if close else "`reidkit recipes` lists them"
    if name and (file := _file(f"{name}.json")) and file.is_file():
        remedy = f"did you mean the file {file}?"
    raise UsageError(f"there is no recipe {name[:100]}; {remedy}")


def _file(name: str) -> Path | None:
    """Return the path of a recipe.json, or None for a name that is no file."""
    path = Path(name)
    try:
        if name and path.is_dir():
            return path / "recipe.json"
        return path if path.suffix == ".json" or path.is_file() else None
    except OSError:  # as a name that is too long for the disk
        return None


def named(recipe: Recipe, origin: Recipe) -> Recipe:
    """Return the recipe `origin` after changes, under a name of its own where they changed anything.

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
    """Return the recipe of reidkit that this one was made from, by its name; None for a name of the user's own."""
    known = by_name()
    for name in sorted(known, key=len, reverse=True):
        if recipe.name == name or re.fullmatch(rf"{re.escape(name)}(-[\w.-]+)?-[0-9a-f]{{{DIGITS}}}", recipe.name):
            return known[name]
    return None


def changes_of(recipe: Recipe, given: Recipe | None = None) -> dict[str, tuple[Any, Any]]:
    """Return what was changed in the recipe that this one was made from, or in `given`; {} where neither is known.

    A stride that the weights have placed (`auto` in the origin) was changed by nobody.
    """
    origin = origin_of(recipe) or given
    if origin is None:
        return {}
    return changes(_unsettled(recipe, origin) if _named_after(recipe, origin) else recipe, origin)


def network_words(recipe: Recipe) -> str:
    """Return the network and its input in words: `resnet18 at 0.25 of its width, images of 128x64`."""
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
    """Return a value as a file's name can have it, on every system."""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    word = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    return f"-{word}" if word[:1].isalpha() else word


def _unsettled(recipe: Recipe, origin: Recipe) -> Recipe:
    if origin.network.stride_in != "auto" or recipe.network.stride_in == "auto":
        return recipe
    return dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, stride_in="auto"))
