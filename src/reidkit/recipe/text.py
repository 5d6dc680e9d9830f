"""A recipe as JSON, as settings on a command line, and as a digest; the differences of two."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

from reidkit.recipe.rules import check
from reidkit.recipe.sections import ADDED, Recipe
from reidkit.types import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, in the order of its fields."""
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(recipe))))


def from_json(value: object, where: str = "recipe") -> Recipe:
    """The recipe that `value` (JSON, already parsed) describes; missing fields take their defaults.

    Raises:
        UsageError: an unknown key or a value that does not fit, named with its place.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        recipe = TypeAdapter(Recipe).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            raise UsageError(f"{where}: there is no {key}{_nearest(key)}") from None
        raise UsageError(f"{where}: {key or 'the whole'}: {first['msg']}") from None
    check(recipe, where)
    return recipe


def load(path: Path) -> Recipe:
    """The recipe of a `recipe.json`."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")), where=str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON: give a recipe's name (`reidkit recipes`) or a recipe.json") from None


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `key=value` settings put in, as `optim.lr=1e-3`; values are JSON or bare words.

    Raises:
        UsageError: a setting without `=`, a key that does not exist (the nearest is named), a value that does not fit.
    """
    value = to_json(recipe)
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting}: write it as KEY=VALUE, as in --set optim.lr=1e-3")
        *sections, leaf = key.strip().split(".")
        place = value
        for section in sections:
            place = place.get(section, {}) if isinstance(place.get(section), dict) else {}
        if leaf not in place or isinstance(place[leaf], dict):
            raise UsageError(f"--set {setting}: there is no {key}{_nearest(key)}")
        place[leaf] = _parse(text.strip())
    return from_json(value, where="--set")


def digest(recipe: Recipe) -> str:
    """A short text that differs where two recipes differ in anything but their name.

    A field of `ADDED` that has its default is left out, so that adding one changes no digest.
    """
    value, defaults = to_json(recipe), to_json(Recipe())
    del value["name"]
    for section, leaf in (key.split(".") for key in ADDED):
        if value[section][leaf] == defaults[section][leaf]:
            del value[section][leaf]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """The leaves in which two recipes differ, as `optim.lr: 0.1, not 0.2`."""
    mine, other = _leaves(to_json(ours)), _leaves(to_json(theirs))
    return [f"{key}: {mine[key]}, not {other[key]}" for key in mine if key != "name" and mine[key] != other[key]]


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= _leaves(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = inner
    return found


def _nearest(key: str) -> str:
    known = list(_leaves(to_json(Recipe())))
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else "; `reidkit recipes standard-baseline` shows every key"
