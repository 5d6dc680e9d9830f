"""Body, hair, clothes and bags of synthetic people, similar enough to be confused with each other."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[np.random.Generator], object]

Rgb = tuple[int, int, int]
T = TypeVar("T")

FAMILY = 4
"""So many neighbouring ids form a family, which shares one outfit."""

CHANGED = 0.45
"""Probability that a member of a family has its own value of a trait."""

# Streams of random numbers: the second entry of every seed, so that no two streams are equal.
FAMILIES, MEMBERS, CAMERAS, IMAGES = range(4)

CLOTH: dict[Rgb, float] = {
    (28, 28, 32): 5,  # black
    (70, 72, 78): 3,  # dark grey
    (140, 142, 146): 3,  # grey
    (228, 228, 224): 4,  # white
    (34, 42, 78): 3,  # navy
    (62, 90, 140): 3,  # denim
    (110, 150, 200): 1.5,  # light blue
    (186, 170, 134): 1.5,  # khaki
    (112, 80, 54): 1,  # brown
    (178, 36, 40): 1.5,  # red
    (104, 28, 40): 1,  # maroon
    (48, 98, 60): 1,  # green
    (92, 96, 56): 1,  # olive
    (216, 134, 160): 1,  # pink
    (112, 72, 130): 0.7,  # purple
    (222, 188, 62): 0.7,  # yellow
    (214, 116, 44): 0.6,  # orange
    (52, 140, 144): 0.6,  # teal
}
SKIN: dict[Rgb, float] = {
    (238, 202, 176): 3,
    (222, 178, 146): 4,
    (198, 150, 116): 3,
    (152, 106, 78): 2,
    (102, 68, 50): 2,
}
HAIR: dict[Rgb, float] = {
    (24, 20, 20): 6,
    (58, 40, 30): 3,
    (104, 72, 46): 2,
    (186, 150, 92): 1,
    (150, 148, 146): 1,
    (128, 54, 34): 0.5,
}
STYLES = {"short": 6.0, "long": 3.0, "bob": 2.0, "tail": 2.0, "bun": 1.0, "bald": 1.0, "cap": 1.5}
UPPERS = {"tee": 6.0, "long": 4.0, "jacket": 3.0, "open": 3.0, "coat": 1.5, "dress": 1.5}
PATTERNS = {
    "plain": 7.0,
    "stripes": 1.5,
    "hoops": 1.5,
    "columns": 1.0,
    "checks": 1.2,
    "block": 2.0,
    "logo": 2.5,
    "sides": 1.0,
}
LOWERS = {"trousers": 7.0, "shorts": 3.5, "skirt": 2.0, "cropped": 1.0}
BAGS = {"none": 4.0, "backpack": 4.0, "shoulder": 2.5, "hand": 1.5}


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person: what stays the same from image to image. Lengths are relative to an average body."""

    height: float
    build: float
    shoulders: float
    hips: float
    legs: float
    head: float
    skin: Rgb
    hair: str
    hair_rgb: Rgb
    upper: str
    upper_rgb: Rgb
    second_rgb: Rgb
    pattern: str
    lower: str
    lower_rgb: Rgb
    lower_stripe: bool
    shoes_rgb: Rgb
    bag: str
    bag_rgb: Rgb
    bag_side: int


def pick(rng: np.random.Generator, weights: dict[T, float]) -> T:
    """Draw a key of `weights` with the probabilities that the values give."""
    rising = list(accumulate(weights.values()))
    return list(weights)[bisect(rising, rng.random() * rising[-1])]


@lru_cache(maxsize=1024)
def person(seed: int, pid: int) -> Person:
    """Return the person with this id in the set of this seed: the outfit of the family, with some traits changed."""
    family = _traits(np.random.default_rng((seed, FAMILIES, (pid - 1) // FAMILY + 1)))
    rng = np.random.default_rng((seed, MEMBERS, pid))
    own = _traits(rng)
    traits = {name: own[name] if rng.random() < CHANGED else family[name] for name in own}
    for name in ("upper_rgb", "second_rgb", "lower_rgb", "shoes_rgb", "bag_rgb"):
        traits[name] = _jitter(rng, traits[name])
    return Person(**traits)


def _traits(rng: np.random.Generator) -> dict[str, Any]:
    return {name: draw(rng) for name, draw in _DRAWS.items()}


def _around(low: float, high: float) -> Draw:
    return lambda rng: low + (high - low) * float(rng.random())


def _among(weights: dict[T, float]) -> Draw:
    return lambda rng: pick(rng, weights)


def _jitter(rng: np.random.Generator, rgb: Rgb) -> Rgb:
    red, green, blue = (min(255, max(0, part + int(rng.integers(-9, 10)))) for part in rgb)
    return red, green, blue


_DRAWS: dict[str, Draw] = {
    "height": _around(0.93, 1.05),
    "build": _around(0.82, 1.28),
    "shoulders": _around(0.88, 1.14),
    "hips": _around(0.9, 1.14),
    "legs": _around(0.94, 1.06),
    "head": _around(0.92, 1.1),
    "skin": _among(SKIN),
    "hair": _among(STYLES),
    "hair_rgb": _among(HAIR),
    "upper": _among(UPPERS),
    "upper_rgb": _among(CLOTH),
    "second_rgb": _among(CLOTH),
    "pattern": _among(PATTERNS),
    "lower": _among(LOWERS),
    "lower_rgb": _among(CLOTH),
    "lower_stripe": _among({False: 6.0, True: 1.0}),
    "shoes_rgb": _among(CLOTH),
    "bag": _among(BAGS),
    "bag_rgb": _among(CLOTH),
    "bag_side": _among({-1: 1.0, 1: 1.0}),
}
