"""The drawing of a person: a skeleton in a pose, seen from some side, dressed in strips of cloth.

Body frame: x to the person's left, y up from the feet (0) to the top of the head (1), z to the front; the unit is the
body height. `yaw` 0 faces the viewer. A strip is 17 rows from edge to edge; cloth patterns are cells of it.
"""

from __future__ import annotations

import math
from bisect import bisect
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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


Points = NDArray[np.float64]

ROWS = 17

SHOULDER = 0.825
"""The height of the shoulders."""

_TURN = np.array((-1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The pose of a person in one image: angles in radians; `arms` is `swing`, `phone`, `pockets` or `carry`."""

    yaw: float
    phase: float
    stride: float
    arms: str


@dataclass(frozen=True, kw_only=True)
class View:
    """How a body is seen: `pitch` down and `tilt` sideways in radians, `scale` pixels per body, feet at (x, y)."""

    pitch: float
    tilt: float
    scale: float
    x: float
    y: float

    def project(self, point: tuple[float, float, float], yaw: float) -> tuple[float, float, float]:
        """Return a point of the body frame as pixels x and y, and its nearness to the viewer."""
        x, y, z = point
        near = z * math.cos(yaw) - x * math.sin(yaw)
        zoom = self.scale * (1.0 + math.sin(self.pitch) * 0.35 * (y - 0.5))
        across = (x * math.cos(yaw) + z * math.sin(yaw)) * zoom
        above = (y - near * math.tan(self.pitch)) * self.scale
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return self.x + across * cos + above * sin, self.y - above * cos + across * sin, near


HEAD, UPPER, LOWER, SHOES = 1, 2, 3, 4
"""The regions of a person in label images; 0 is everything else."""


class Canvas:
    """Colours and light, drawn together: whatever covers a colour also covers the shade on it.

    `region` says what is being drawn, and `alone` whether it is the person whom the image is of: see `synth.truth`.
    """

    region = 0
    alone = False

    def __init__(self, image: Image.Image, shade: float) -> None:
        """Draw on `image`; `shade` from -1 to 1 is the side that lies in the shade, and how much."""
        self.image = image
        self.light = Image.new("L", image.size, 255)
        self._colour = ImageDraw.Draw(image)
        self._light = ImageDraw.Draw(self.light)
        self._from, self._to = (0.58, 1.0) if shade > 0 else (0.0, 0.42)
        self._dark = 1.0 - 0.5 * abs(shade)

    def fill(self, outline: Points, rgb: Rgb, light: float = 1.0) -> None:
        """Fill a polygon [N, 2]."""
        flat = outline.ravel().tolist()
        self._colour.polygon(flat, fill=rgb)
        self._light.polygon(flat, fill=int(255 * light))

    def darken(self, outline: Points, light: float) -> None:
        """Set the light within a polygon [N, 2]."""
        self._light.polygon(outline.ravel().tolist(), fill=int(255 * light))

    def oval(self, x: float, y: float, half: tuple[float, float], rgb: Rgb, light: float = 1.0) -> None:
        """Fill an ellipse with the half axes `half`."""
        box = (x - half[0], y - half[1], x + half[0], y + half[1])
        self._colour.ellipse(box, fill=rgb)
        self._light.ellipse(box, fill=int(255 * light))

    def strip(self, strip: Strip, rgb: Rgb, light: float = 1.0) -> None:
        """Fill a strip and shade its far side."""
        self.fill(strip.cell(0.0, 1.0), rgb, light)
        self.darken(strip.cell(self._from, self._to), light * self._dark)

    def cell(self, outline: Points, rgb: Rgb) -> None:
        """Change the colour within a polygon [N, 2] and leave the light as it is."""
        self._colour.polygon(outline.ravel().tolist(), fill=rgb)

    def joint(self, name: str, x: float, y: float) -> None:
        """Say where a joint of the person is, in pixels."""


@dataclass(frozen=True, eq=False)
class Strip:
    """A piece of cloth or skin around a limb: its `left` edge and the way `across` to the right one, [17, 2] pixels."""

    left: Points
    across: Points
    yaw: float

    def cell(self, u0: float, u1: float, first: int = 0, last: int = ROWS - 1) -> Points:
        """Return the outline between two fractions of the width (0 to 1) and two rows."""
        # Every second row will do where that keeps the last one, and a polygon of half the edges is filled sooner.
        rows = slice(first, last + 1, 1 if (last - first) % 2 else 2)
        left, across = self.left[rows], self.across[rows]
        return np.concatenate((left + u0 * across, (left + u1 * across)[::-1]))

    def around(self, angle: float, half: float) -> tuple[float, float] | None:
        """Return the part of the width where `angle` of the body (0 is the front) within `half` is visible, or None."""
        middle = (angle + self.yaw + math.pi) % (2 * math.pi) - math.pi
        low, high = max(middle - half, -math.pi / 2), min(middle + half, math.pi / 2)
        if low >= high:
            return None
        return 0.5 + 0.5 * math.sin(low), 0.5 + 0.5 * math.sin(high)


@cache
def _spread(knots: int) -> tuple[Points, Points]:
    """Return the matrices from values at evenly spaced knots to a value and a slope for each row."""
    steps, unit = np.linspace(0.0, 1.0, knots), np.eye(knots)
    rows = np.stack([np.interp(np.linspace(0.0, 1.0, ROWS), steps, unit[knot]) for knot in range(knots)], axis=1)
    return rows, np.gradient(rows, axis=0)


def limb(joints: Points, radii: tuple[float, ...], yaw: float) -> Strip:
    """Return a strip along joints [N, 2], with a radius at each (evenly spaced, if there are more or fewer than N)."""
    rows, slopes = _spread(len(joints))
    middle, direction = rows @ joints, slopes @ joints
    length = np.hypot(direction[:, 0], direction[:, 1])
    reach = (_spread(len(radii))[0] @ radii) / np.maximum(length, 1e-6)
    offset = direction[:, ::-1] * (reach[:, None] * _TURN)
    return Strip(middle + offset, -2.0 * offset, yaw)


# The head: neck, face and hair, in lengths of the body height round the middle of the head.

LARGER = 1.1
"""Heads are drawn this much larger than life: of a face nine pixels wide little is left otherwise."""

_EYES = (40, 32, 30)
_DOWN_THE_BACK = {"long": (0.16, 0.056), "tail": (0.14, 0.018), "bob": (0.07, 0.056)}
"""How long and how wide hair hangs."""


def draw_head(canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
    """Draw the head above the shoulders, which have been drawn."""
    canvas.region = HEAD
    points = ((0.0, SHOULDER + 0.01, 0.0), (0.0, 0.865, 0.01), (0.0, 0.93, 0.015), (0.0, 0.8, -0.035))
    throat, chin, middle, nape = (view.project(point, pose.yaw)[:2] for point in points)
    canvas.joint("nose", *middle)
    head = _Head(canvas, middle, view.scale * person.head * LARGER)
    away = math.cos(pose.yaw) < -0.2
    if person.hair == "long" and not away:
        head.hang(nape, (0.052, 0.06), person.hair_rgb)
    neck = limb(np.array((throat, chin)), (0.034 * head.size, 0.03 * head.size), pose.yaw)
    canvas.strip(neck, person.skin, 0.85)
    head.oval(0.0, 0.0, (0.052, 0.07), person.skin if person.hair == "bald" else person.hair_rgb)
    if not away:
        _draw_face(head, person, pose.yaw)
    _draw_hair(head, person, pose.yaw)
    if away and person.hair in _DOWN_THE_BACK:
        length, wide = _DOWN_THE_BACK[person.hair]
        head.hang((middle[0], middle[1] + length * head.size), (0.9 * wide, wide), person.hair_rgb)


class _Head:
    def __init__(self, canvas: Canvas, middle: tuple[float, float], size: float) -> None:
        self.canvas, self.middle, self.size = canvas, middle, size

    def oval(self, x: float, y: float, half: tuple[float, float], rgb: Rgb, light: float = 1.0) -> None:
        """Draw an ellipse at (x, y) from the middle, y down."""
        size = self.size
        place = self.middle[0] + x * size, self.middle[1] + y * size
        self.canvas.oval(*place, (half[0] * size, half[1] * size), rgb, light)

    def hang(self, end: tuple[float, float], half: tuple[float, float], rgb: Rgb) -> None:
        """Draw hair from the middle of the head to a pixel, half as wide at the top and at the end."""
        hair = limb(np.array((self.middle, end)), (half[0] * self.size, half[1] * self.size), 0.0)
        self.canvas.fill(hair.cell(0.0, 1.0), rgb)


def _draw_face(head: _Head, person: Person, yaw: float) -> None:
    side = math.sin(yaw)
    head.oval(0.022 * side, 0.014, (0.043 * max(0.62, abs(math.cos(yaw))), 0.055), person.skin)
    for turn in (-0.45, 0.45):
        if math.cos(turn + yaw) > 0.25:
            head.oval(0.036 * math.sin(turn + yaw) + 0.01 * side, -0.002, (0.008, 0.006), _EYES)


def _draw_hair(head: _Head, person: Person, yaw: float) -> None:
    side = math.sin(yaw)
    if person.hair == "cap":
        head.oval(0.0, -0.035, (0.056, 0.04), person.bag_rgb)
        head.oval(0.04 * side, -0.02, (0.045, 0.012), person.bag_rgb, 0.8)
    elif person.hair == "bun":
        head.oval(-0.035 * side, -0.065, (0.026, 0.024), person.hair_rgb)
    elif person.hair == "tail":
        head.oval(-0.055 * side, 0.02, (0.018, 0.05), person.hair_rgb)
    elif person.hair == "bob":
        for edge in (-0.047, 0.047):
            head.oval(edge - 0.01 * side, 0.015, (0.013, 0.05), person.hair_rgb)
