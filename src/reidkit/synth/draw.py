"""One image: a person in front of a camera, in a box that may be misaligned, possibly behind something.

A camera has its own scene, view of people, light, colours, blur, noise and JPEG quality.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reidkit.synth.dress import draw_person
from reidkit.synth.figure import CAMERAS, CLOTH, IMAGES, Canvas, Pose, View, person, pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.synth.figure import Rgb

C = TypeVar("C", bound=Canvas)

STRANGERS = 10_000
"""People from this number on have no label: passers-by and distractors."""

SLIPPED, HIDDEN, COMPANY = 0.3, 0.3, 0.15
"""Probabilities of a misaligned box, of something in front, and of another person in the background."""

ARMS = {"swing": 6.0, "pockets": 1.5, "carry": 1.0, "phone": 1.0}


@dataclass(frozen=True)
class Shot:
    """One image to draw: `pid` from 1, or from `STRANGERS`; `bad` is a box that nearly misses the person."""

    name: str
    pid: int
    camid: int
    number: int
    bad: bool = False


def draw_image(seed: int, shot: Shot, height: int, width: int) -> bytes:
    """Return the JPEG file of a shot: the same bytes for the same arguments, whatever was drawn before."""
    return draw_on(seed, shot, height, width, Canvas)[0]


def draw_on(seed: int, shot: Shot, height: int, width: int, kind: type[C]) -> tuple[bytes, C]:
    """Draw a shot on a canvas of a kind; return the JPEG file, and the canvas with what it has kept."""
    rng = np.random.default_rng((seed, IMAGES, shot.pid, shot.camid, shot.number, int(shot.bad)))
    eye = camera(seed, shot.camid, height, width)
    tall = height * OVERSAMPLING
    wide = round(width * OVERSAMPLING / (eye.stretch * (0.94 + 0.12 * float(rng.random()))))
    canvas = kind(eye.backdrop(rng, (wide, tall)), eye.shade)
    view = _box(rng, eye, wide, tall, bad=shot.bad)
    if rng.random() < COMPANY:
        _company(rng, seed, canvas, view, nearer=False)
    who = person(seed, shot.pid)
    draw_shadow(canvas, view, eye.shade)
    canvas.alone = True
    draw_person(canvas, who, _pose(rng, eye), replace(view, scale=view.scale * who.height))
    canvas.alone = False
    if rng.random() < HIDDEN:
        _hide(rng, seed, canvas, view)
    size = (width, height)
    image = canvas.image.resize(size, Image.Resampling.BOX)
    return eye.develop(rng, image, canvas.light.resize(size, Image.Resampling.BOX)), canvas


def _pose(rng: np.random.Generator, eye: Camera) -> Pose:
    back = math.pi if rng.random() < 0.4 else 0.0
    yaw = eye.heading + back + 0.55 * float(rng.standard_normal())
    stride = 0.06 if rng.random() < 0.2 else 0.2 + 0.3 * float(rng.random())
    return Pose(yaw=yaw, phase=2 * math.pi * float(rng.random()), stride=stride, arms=pick(rng, ARMS))


def _box(rng: np.random.Generator, eye: Camera, wide: int, tall: int, *, bad: bool) -> View:
    """Place the person in the box: near the middle, beside it, or hardly inside."""
    x, y, zoom = (0.04 * float(rng.standard_normal()) for _ in range(3))
    if bad:
        x += 0.55 * (-1 if rng.random() < 0.5 else 1)
        y += 0.5 * float(rng.standard_normal())
        zoom += 0.2 + 0.6 * float(rng.random())
    elif rng.random() < SLIPPED:
        x += 0.13 * float(rng.standard_normal())
        y += 0.12 * float(rng.standard_normal())
        zoom += -0.2 + 0.5 * float(rng.random())
    scale = 0.9 * tall * (1.0 + zoom)
    tilt = eye.tilt + 0.03 * float(rng.standard_normal())
    return View(pitch=eye.pitch, tilt=tilt, scale=scale, x=(0.5 + x) * wide, y=(0.5 + y) * tall + 0.48 * scale)


def draw_shadow(canvas: Canvas, view: View, shade: float) -> None:
    """Darken the floor round the feet of whoever is seen so."""
    turns = np.linspace(0.0, 2 * math.pi, 12, endpoint=False)
    x = view.x + (0.1 * shade + 0.19 * np.cos(turns)) * view.scale
    canvas.darken(np.stack((x, view.y + 0.03 * view.scale * np.sin(turns)), axis=1), 0.7)


def _company(rng: np.random.Generator, seed: int, canvas: Canvas, view: View, *, nearer: bool) -> None:
    """Draw another person, behind the first one or in front of half of them."""
    who = person(seed, STRANGERS + int(rng.integers(0, 400)))
    side = -1 if rng.random() < 0.5 else 1
    scale = view.scale * (1.1 if nearer else 0.55 + 0.3 * float(rng.random()))
    x = view.x + side * (0.2 + 0.12 * float(rng.random())) * view.scale
    y = view.y + (0.08 if nearer else -0.04) * view.scale
    pose = Pose(yaw=6.3 * float(rng.random()), phase=6.3 * float(rng.random()), stride=0.3, arms="swing")
    draw_person(canvas, who, pose, replace(view, scale=scale, x=x, y=y))


def _hide(rng: np.random.Generator, seed: int, canvas: Canvas, view: View) -> None:
    """Draw something in front: a post, a low wall or bench, a bush, a board, or another person."""
    wide, tall = canvas.image.size
    rgb: Rgb = pick(rng, CLOTH)
    what = pick(rng, {"post": 2.0, "wall": 2.0, "bush": 1.0, "board": 1.5, "person": 2.0})
    a, b = float(rng.random()), float(rng.random())
    if what == "person":
        _company(rng, seed, canvas, view, nearer=True)
    elif what == "post":
        left, half = a * wide, (0.03 + 0.06 * b) * wide
        canvas.fill(rectangle(left - half, 0, left + half, tall), rgb, 0.95)
        canvas.darken(rectangle(left, 0, left + half, tall), 0.7)
    elif what == "wall":
        top = tall * (0.55 + 0.3 * a)
        canvas.fill(rectangle(0, top, wide, tall if b < 0.6 else top + 0.1 * tall), rgb, 0.9)
        canvas.darken(rectangle(0, top, wide, top + 0.02 * tall), 1.0)
    elif what == "board":
        left, top = wide * (a - 0.25), tall * (0.2 + 0.5 * b)
        canvas.fill(rectangle(left, top, left + 0.5 * wide, top + 0.3 * tall), rgb, 0.95)
    else:
        for x, y, size in rng.random((22, 3)).tolist():
            green = int(50 + 90 * size)
            spot = (0.06 + 0.06 * size) * wide * 2
            canvas.oval(
                (a - 0.3 + 0.6 * x) * wide, tall * (1.0 - 0.4 * y * (0.5 + b)), (spot, spot), (green // 2, green, 40)
            )


def rectangle(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """Return the corners [4, 2] of an upright rectangle."""
    return np.array(((left, top), (right, top), (right, bottom), (left, bottom)))


# Cameras.

OVERSAMPLING = 2
"""Figures and scenes are drawn this many times larger than the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """A camera and the place it looks at. Angles in radians, `blur` in pixels.

    `scene`: uint8 [H', W', 3], larger than an image. `stretch`: how much wider than life a box shows people.
    `heading`: the way people walk through the picture, as a yaw. `mix`: the colour matrix, 3 rows of 4. `curve`
    [256]: the grey level that each grey level becomes. `slope` [H, W] is the light over the image, `grain` [N] noise.
    """

    scene: NDArray[np.uint8]
    pitch: float
    tilt: float
    stretch: float
    heading: float
    shade: float
    slope: NDArray[np.float32]
    mix: tuple[float, ...]
    curve: NDArray[np.float32]
    exposure: float
    blur: float
    grain: NDArray[np.float32]
    quality: int

    def backdrop(self, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
        """Cut a piece of `size` (width, height) pixels out of the scene: anywhere across, and at nearly one height."""
        rows, columns = self.scene.shape[:2]
        x = int(rng.random() * (columns - size[0]))
        y = int(rng.random() * (rows - size[1]))
        piece = self.scene[y : y + size[1], x : x + size[0]]
        return Image.fromarray(np.ascontiguousarray(piece))

    def develop(self, rng: np.random.Generator, image: Image.Image, light: Image.Image) -> bytes:
        """Return the JPEG file of a drawn image and the light on it (modes RGB and L, of one size)."""
        blur = 0.5 + float(rng.random())
        flicker = 0.85 + 0.3 * float(rng.random())
        start = int(rng.integers(0, self.grain.size - 3 * image.width * image.height))
        pixels = self.expose(image, light, (blur, flicker, start))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality - int(rng.integers(0, 12)))
        return file.getvalue()

    def expose(self, image: Image.Image, light: Image.Image, moment: tuple[float, float, int]) -> NDArray[np.uint8]:
        """Return the pixels [H, W, 3] of a drawn image and the light on it (modes RGB and L, of one size).

        `moment` is what differs from image to image: factors of blur and exposure, and where in `grain` to begin.
        """
        blur, flicker, start = moment
        blurred = image.filter(ImageFilter.BoxBlur(self.blur * blur))
        pixels = self.curve[np.asarray(blurred.convert("RGB", self.mix))]
        shine = np.asarray(light, np.float32) * (self.exposure * flicker / 255.0) * self.slope
        pixels *= shine[:, :, None]
        pixels += self.grain[start : start + pixels.size].reshape(pixels.shape)
        np.clip(pixels, 0.0, 255.0, out=pixels)
        return np.asarray(pixels, np.uint8)


@lru_cache(maxsize=64)
def camera(seed: int, camid: int, height: int, width: int) -> Camera:
    """Return the camera with this number in the set of this seed, for images of this size."""
    rng = np.random.default_rng((seed, CAMERAS, camid))
    uniform = rng.uniform
    colour, gains = float(uniform(0.65, 1.1)), uniform(0.86, 1.12, (3, 1))
    mix = np.zeros((3, 4))
    mix[:, :3] = (np.eye(3) * colour + np.array((0.299, 0.587, 0.114)) * (1.0 - colour)) * gains
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    turn = uniform(0, 2 * math.pi)
    slope = 1.0 + 0.2 * (across * math.cos(turn) + down * math.sin(turn))
    return Camera(
        pitch=float(uniform(0.04, 0.42)),
        tilt=float(uniform(-0.08, 0.08)),
        stretch=float(uniform(1.15, 1.45)),
        heading=float(uniform(-math.pi, math.pi)),
        shade=float(uniform(0.25, 1.0) * rng.choice((-1.0, 1.0))),
        slope=slope.astype(np.float32),
        mix=tuple(mix.ravel().tolist()),
        curve=(255 * np.linspace(0, 1, 256) ** uniform(0.8, 1.25)).astype(np.float32),
        exposure=float(uniform(0.8, 1.15)),
        blur=float(uniform(0.15, 0.9)),
        grain=rng.standard_normal(height * width * 12, np.float32) * np.float32(uniform(2.0, 9.0)),
        quality=int(uniform(55, 95)),
        scene=_scene(rng, height * OVERSAMPLING, width * OVERSAMPLING),
    )


def clouds(rng: np.random.Generator, height: int, width: int, cell: int) -> NDArray[np.float32]:
    """Return smooth noise [height, width] from -1 to 1, with spots of about `cell` pixels and finer ones in them."""
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        size = max(2, cell >> octave)
        coarse = rng.uniform(-1, 1, (height // size + 2, width // size + 2)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * 0.5**octave
    return np.divide(total, 1.75, out=total)


def _scene(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Draw a wall or a hedge above a floor, wide enough for people to stand in many places."""
    rows, columns = int(1.25 * height), 5 * width
    return paint_scene(rng, (columns, rows), int(rows * rng.uniform(0.25, 0.6)), height)


def paint_scene(rng: np.random.Generator, size: tuple[int, int], horizon: int, height: int) -> NDArray[np.uint8]:
    """Draw a wall or a hedge above a floor, uint8 [rows, columns, 3].

    Args:
        rng: What decides how it looks.
        size: Columns and rows.
        horizon: The row where the floor begins.
        height: Pixels of a person, about: what stands on the floor is in proportion to it.
    """
    columns, rows = size
    image = Image.new("RGB", (columns, rows), _muted(rng, 90, 190))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, horizon, columns, rows), fill=_muted(rng, 90, 190))
    _BEHIND[pick(rng, dict.fromkeys(_BEHIND, 1.0))](rng, draw, (columns, horizon))
    _pave(rng, draw, horizon, rows)
    for _ in range(int(rng.integers(5, 11))):
        _clutter(rng, draw, horizon, height)
    pixels = np.asarray(image, np.float32)
    grain = clouds(rng, rows, columns, int(rng.integers(8, 60))) * rng.uniform(8, 26)
    leaves = np.where(np.arange(rows)[:, None] < horizon, 1.0, 0.5) * grain
    return np.asarray(np.clip(pixels + leaves[:, :, None], 0, 255), np.uint8)


def _muted(rng: np.random.Generator, low: int, high: int) -> Rgb:
    level = rng.uniform(low, high)
    red, green, blue = (int(min(255, max(0, level + tint))) for tint in rng.uniform(-22, 22, 3))
    return red, green, blue


def _windows(rng: np.random.Generator, draw: ImageDraw.ImageDraw, wall: tuple[int, int]) -> None:
    glass, frame = _muted(rng, 30, 110), _muted(rng, 120, 220)
    step, top = int(rng.integers(40, 110)), int(wall[1] * rng.uniform(0.05, 0.3))
    for x in range(0, wall[0], step):
        box = (x, top, x + int(step * 0.7), int(wall[1] * rng.uniform(0.75, 0.95)))
        draw.rectangle(box, fill=glass, outline=frame, width=3)


def _bricks(rng: np.random.Generator, draw: ImageDraw.ImageDraw, wall: tuple[int, int]) -> None:
    mortar, high = _muted(rng, 70, 200), int(rng.integers(10, 26))
    for course, y in enumerate(range(0, wall[1], high)):
        draw.line((0, y, wall[0], y), fill=mortar, width=2)
        for x in range(high * (course % 2), wall[0], 2 * high):
            draw.line((x, y, x, min(y + high, wall[1])), fill=mortar, width=2)


def _hedge(rng: np.random.Generator, draw: ImageDraw.ImageDraw, wall: tuple[int, int]) -> None:
    for x, y in rng.uniform(0, 1, (260, 2)) * wall:
        green, size = int(rng.uniform(60, 150)), float(rng.uniform(6, 22))
        leaf = (int(green * 0.62), green, int(green * 0.45))
        draw.ellipse((x - size, y - size * 0.7, x + size, min(y + size * 0.7, wall[1])), fill=leaf)


def _shops(rng: np.random.Generator, draw: ImageDraw.ImageDraw, wall: tuple[int, int]) -> None:
    x = 0
    while x < wall[0]:
        wide = int(rng.integers(60, 200))
        draw.rectangle((x, 0, x + wide, wall[1]), fill=_muted(rng, 40, 220))
        sign = (int(rng.integers(40, 240)), int(rng.integers(40, 240)), int(rng.integers(40, 240)))
        draw.rectangle((x + 6, int(wall[1] * 0.2), x + wide - 6, int(wall[1] * 0.4)), fill=sign)
        x += wide


_BEHIND = {"windows": _windows, "bricks": _bricks, "hedge": _hedge, "shops": _shops}


def _pave(rng: np.random.Generator, draw: ImageDraw.ImageDraw, horizon: int, rows: int) -> None:
    """Draw lines on the floor that run to a vanishing point, and lines across that are denser with distance."""
    line, columns = _muted(rng, 70, 200), draw.im.size[0]
    width, gap = int(rng.integers(1, 4)), int(rng.integers(30, 120))
    for x in range(-columns, 2 * columns, gap):
        draw.line((x, rows, columns // 2 + (x - columns // 2) // 3, horizon), fill=line, width=width)
    for step in range(6):
        y = horizon + int((rows - horizon) * (step / 6) ** 1.7)
        draw.line((0, y, columns, y), fill=line, width=width)


def _clutter(rng: np.random.Generator, draw: ImageDraw.ImageDraw, horizon: int, height: int) -> None:
    """Draw a bin, a board, a parked car or a post on the floor."""
    x, foot = rng.uniform(0, draw.im.size[0]), horizon + rng.uniform(0.0, 0.2) * height
    wide, high = rng.uniform(0.02, 0.25) * height, rng.uniform(0.1, 0.6) * height
    rgb = _muted(rng, 20, 220)
    draw.rectangle((x, foot - high, x + wide, foot), fill=rgb)
    draw.rectangle((x, foot - high, x + wide * 0.4, foot), fill=(rgb[0] * 3 // 4, rgb[1] * 3 // 4, rgb[2] * 3 // 4))
