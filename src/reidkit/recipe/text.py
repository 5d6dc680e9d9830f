"""A recipe as JSON, as settings on a command line, and as a digest; the differences of two."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, cast

from reidkit import strict_json
from reidkit.errors import UsageError
from reidkit.recipe.old_words import nearest
from reidkit.recipe.rules import check
from reidkit.recipe.sections import ADDED, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
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

    _refuse_booleans(value, where)
    try:
        recipe = TypeAdapter(Recipe).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = _short(".".join(str(part) for part in first["loc"]))
        if first["type"] == "unexpected_keyword_argument":
            raise UsageError(f"{where}: there is no {key}{_nearest(key)}") from None
        raise UsageError(f"{where}: {key or 'the whole'}: {first['msg']}{_meant(first)}") from None
    check(recipe, where)
    return recipe


def load(path: Path) -> Recipe:
    """The recipe of a `recipe.json`.

    Raises:
        UsageError: it cannot be read, is not JSON, or no recipe.
    """
    try:
        value = strict_json.read(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except strict_json.JsonError as error:
        if path.suffix.lower() in {".yml", ".yaml"}:
            raise UsageError(
                f"{path} is YAML, and a recipe is JSON: `reidkit recipes strong-baseline > mine.json` writes one to "
                "change"
            ) from None
        raise UsageError(
            f"{path} is not JSON ({error}): give a recipe's name (`reidkit recipes`) or a recipe.json, which has no "
            "comments"
        ) from None
    return from_json(value, where=str(path))


def override(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `key=value` settings put in, as `optim.lr=1e-3`; values are JSON or bare words.

    Raises:
        UsageError: a setting without `=`, a key that does not exist (the nearest is named), a value that does not fit.
    """
    value = to_json(recipe)
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"{_short(setting)}: write a setting as KEY=VALUE, as in optim.lr=1e-3", argument="set")
        *sections, leaf = key.strip().split(".")
        place = value
        for section in sections:
            place = place.get(section, {}) if isinstance(place.get(section), dict) else {}
        if leaf not in place or isinstance(place[leaf], dict):
            raise UsageError(
                f"{_short(setting)}: there is no {_short(key.strip())}{_nearest(key.strip())}", argument="set"
            )
        place[leaf] = _parse(text.strip(), several=isinstance(place[leaf], list))
    return from_json(value, where="recipe")


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


def _parse(text: str, *, several: bool = False) -> object:
    """A value as JSON, or the bare word. Of `several` numbers, `40,70` and `(40, 70)` are the list they look like."""
    content = text
    if several and text[:1] not in ("", "["):
        content = f"[{text.removeprefix('(').removesuffix(')').strip().removesuffix(',')}]"
    try:
        return strict_json.parse(content)
    except strict_json.JsonError:
        return text


def _refuse_booleans(value: object, where: str) -> None:
    """True and false are numbers to Python, and to nobody who writes a recipe."""
    defaults = _leaves(to_json(Recipe()))
    for key, given in _leaves(value).items() if isinstance(value, dict) else ():
        default = defaults.get(key)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if isinstance(given, bool) and number:
            raise UsageError(f"{where}: {key}: {str(given).lower()} is not a number")


def _meant(error: Mapping[str, Any]) -> str:
    """What was given in the place of one of a few words, and which of them it looks like."""
    given = error["input"]
    if error["type"] != "literal_error" or not isinstance(given, str):
        return ""
    choices = re.findall(r"'([^']*)'", error["msg"])
    plain = given.lower().replace("_", "-")
    close = difflib.get_close_matches(plain, choices, n=1, cutoff=0.8)
    return f", not {_short(given)}{f'; did you mean {close[0]}?' if close else ''}"


def _short(text: str) -> str:
    """A text of others as it may stand in a sentence: one line, not too long."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= 100 else f"{plain[:97]}..."


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= _leaves(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = inner
    return found


def _nearest(key: str) -> str:
    return nearest(_short(key), list(_leaves(to_json(Recipe()))))
