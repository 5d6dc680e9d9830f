"""Named recipes, and the published score of each."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipes.luo2019.ladder import ROWS, Row
from reidkit.recipes.luo2019.tables import TABLES

if TYPE_CHECKING:
    from reidkit.recipe import Recipe

__all__ = ["ROWS", "Row", "by_name", "find"]


def by_name() -> dict[str, Recipe]:
    """Every recipe that has a name, with those of the tables."""
    of_lines = [line.recipe for table in TABLES.values() for line in table.lines if line.recipe]
    return {recipe.name: recipe for recipe in (*(row.recipe for row in ROWS), *of_lines)}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, or of that `recipe.json` (or run folder).

    Raises:
        UsageError: no such name (the nearest is named), or a file that is no recipe.
    """
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
    raise UsageError(f"there is no recipe {name[:100]}; {remedy}")


def _file(name: str) -> Path | None:
    """The recipe.json that is meant, or None for what is no file."""
    path = Path(name)
    try:
        if name and path.is_dir():
            return path / "recipe.json"
        return path if path.suffix == ".json" or path.is_file() else None
    except OSError:  # as a name that is too long for the disk
        return None
