"""What the shell offers behind Tab, beside commands, options and choices."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

from reidkit.cli.suggest import recipe_keys, recipe_names


def recipes(incomplete: str) -> list[str]:
    """Names of recipes."""
    return [name for name in recipe_names() if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """Keys for `--set`, and behind `KEY=` the values where they are few."""
    key, separator, _ = incomplete.partition("=")
    found = [f"{key}={value}" for value in _choices(key)] if separator else [f"{name}=" for name in recipe_keys()]
    return [word for word in found if word.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """Formats of data sets."""
    from reidkit.data.formats.detect import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def interpretations(incomplete: str) -> list[str]:
    """What `--as` takes."""
    from reidkit.recipes.luo2019.interpretations import INTERPRETATIONS

    return [name for name in INTERPRETATIONS if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """What `--device` takes."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


def _choices(key: str) -> list[str]:
    """The values of a field that has only a few."""
    from reidkit.recipe import Recipe, sections

    if key not in recipe_keys():
        return []
    section, leaf = key.split(".")
    owner = get_type_hints(Recipe, vars(sections))[section]
    hint = get_type_hints(owner, vars(sections))[leaf]
    if hint is bool:
        return ["true", "false"]
    return [str(value) for value in get_args(hint)] if get_origin(hint) is Literal else []
