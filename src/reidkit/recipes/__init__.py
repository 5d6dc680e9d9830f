"""Named recipes and the tables of papers, with the published scores: one sub-package a paper, listed here."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from reidkit import recipe as recipes
from reidkit.errors import UsageError
from reidkit.recipes.luo2019.ladder import ROWS
from reidkit.recipes.luo2019.tables import TABLES as LUO2019

if TYPE_CHECKING:
    from reidkit.recipe import Recipe
    from reidkit.recipes.paper_table import Table

__all__ = ["ROWS", "TABLES", "by_name", "get_recipe"]

TABLES: dict[str, Table] = {**LUO2019}
"""The tables of every paper, by the names that `reidkit paper` knows."""


def by_name() -> dict[str, Recipe]:
    """Return every recipe that has a name: those that are listed first, then the others of the tables."""
    rows = (*ROWS, *(row for table in TABLES.values() for row in table.rows))
    return {row.recipe.name: row.recipe for row in rows if row.recipe}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or that of a `recipe.json` or a run folder.

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
    """Return the path of a recipe.json, or None for a name that is no file."""
    path = Path(name)
    try:
        if name and path.is_dir():
            return path / "recipe.json"
        return path if path.suffix == ".json" or path.is_file() else None
    except OSError:  # as a name that is too long for the disk
        return None
