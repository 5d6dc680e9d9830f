"""Recognise the layout of the keys of a file, and their prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from reidkit.arguments import check_choice, in_words
from reidkit.errors import WeightsError
from reidkit.model.convert.families import FAMILIES, some_match
from reidkit.terminal import first_and_more

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reidkit.model.convert.families import Family

WRAPPERS = (
    "module.", "model.", "state_dict.", "model_state_dict.", "net.", "network.", "params.", "weights.", "ema.",
    "state_dict_ema.", "model_ema.",
)  # fmt: skip
"""What trainers put in front of all keys of a network."""
DEEPEST = 4
EXPORT_IT = "export it to ONNX where it was made, and give the .onnx to any command as the model"


class Found(NamedTuple):
    """A layout, and the prefix of the keys that are of it."""

    family: Family
    prefix: str


def recognise(names: Sequence[str]) -> Found | None:
    """Return the layout that these keys have; None for keys of no known one."""
    for prefix, own in _unwrapped(names):
        for family in FAMILIES:
            if family.by_keys and family.is_told_by(own):
                return Found(family, prefix)
    return None


def recognised(names: Sequence[str], path: Path) -> Found:
    """Return the layout that these keys have.

    Raises:
        WeightsError: they have no known one, with the three nearest; or one that no network of reidkit's fits, with the
            key that says so.
    """
    found = recognise(names)
    if found is None:
        raise WeightsError(
            f"{path} has no layout of keys that reidkit knows (they are {_first(names)}); the nearest are "
            f"{_nearest(names)}: name one as family, or start a training from the file as weights",
            argument="family",
        )
    refuse_unsupported(found, names, path)
    return found


def named(family: str, names: Sequence[str], path: Path) -> Found:
    """Return the layout of this name, and the prefix under which most of the keys fit it.

    Raises:
        UsageError: there is no such layout.
        WeightsError: no key fits it, or no network of reidkit's does.
    """
    names_of = {each.name: each for each in FAMILIES}
    if family not in names_of:
        able = sorted(name for name, each in names_of.items() if not each.unsupported)
        check_choice(family, Literal[tuple(able)], "family")
    chosen = names_of[family]
    fits = [(_fitting(chosen, own), prefix) for prefix, own in _unwrapped(names)]
    most, prefix = max(fits, key=lambda fit: fit[0], default=(0, ""))
    found = Found(chosen, prefix)
    refuse_unsupported(found, names, path)
    if not most:
        raise WeightsError(
            f"{path} has no key of the layout {family} (they are {_first(names)}); the nearest are {_nearest(names)}: "
            "name one of these as family, or none",
            argument="family",
        )
    return found


def refuse_unsupported(found: Found, names: Sequence[str], path: Path) -> None:
    """Refuse what no network of reidkit's has.

    Raises:
        WeightsError: the layout, or a key, is of something else; the key is named.
    """
    own = [name.removeprefix(found.prefix) for name in names if name.startswith(found.prefix)]
    family = found.family
    if family.unsupported:
        key = next((key for pattern in family.tell if (key := some_match(pattern, own))), "")
        key = key or (own[0] if own else "")
        raise WeightsError(
            f"{path} is of {family.name} (its key {in_words(key, 120)} says so), and {family.unsupported}: {EXPORT_IT}"
        )
    for pattern, what in family.refuses:
        if key := some_match(pattern, own):
            raise WeightsError(
                f"{path} is of {family.name} with {what} (its key {in_words(key, 120)} says so), which reidkit has "
                f"not: {EXPORT_IT}"
            )


def _unwrapped(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return prefixes that trainers may have put there, shortest first, each with the keys under it without it."""
    found: list[tuple[str, list[str]]] = []
    waiting = [("", list(names))]
    while waiting:
        prefix, own = waiting.pop(0)
        found.append((prefix, own))
        if prefix.count(".") >= DEEPEST:
            continue
        for word in WRAPPERS:
            inner = [name[len(word) :] for name in own if name.startswith(word)]
            if inner:
                waiting.append((prefix + word, inner))
    return found


def _fitting(family: Family, names: Sequence[str]) -> int:
    """Return how many of the keys the layout has a new name for."""
    return sum(bool(family.rename(name)) for name in names)


def _nearest(names: Sequence[str]) -> str:
    """Return the three layouts that have most of the keys, in words."""
    able = [family for family in FAMILIES if family.renames and family.by_keys]
    counts = [(max(_fitting(family, own) for _, own in _unwrapped(names)), family.name) for family in able]
    best = sorted(counts, key=lambda count: -count[0])[:3]
    return ", ".join(f"{name} ({count} of {len(names)} keys)" for count, name in best)


def _first(names: Sequence[str]) -> str:
    return first_and_more(in_words(name, 80) for name in names)
