"""One image: a person before a camera, in a box that may be wrong, behind things that may be in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from reidkit.synth.cameras import OVERSAMPLING, Camera, camera
from reidkit.synth.dress import draw_person
from reidkit.synth.figure import Canvas, Pose, View
from reidkit.synth.people import CLOTH, IMAGES, person, pick

if TYPE_CHECKING:
    from reidkit.synth.people import Rgb

STRANGERS = 10_000
"""From this id on people have no label: passers-by and distractors."""

SLIPPED, HIDDEN, COMPANY = 0.3, 0.3, 0.15
"""How probable a misaligned box, something in front, and somebody else in the background are."""

ARMS = {"swing": 6.0, "pockets": 1.5, "carry": 1.0, "phone": 1.0}


@dataclass(frozen=True)
class Shot:
    """One image to draw: `pid` 1 and up, or `STRANGERS` and up; `bad` is a detection that all but missed."""

    name: str
    pid: int
    camid: int
    number: int
    bad: bool = False


def draw_image(seed: int, shot: Shot, height: int, width: int) -> bytes:
    """The JPEG file of a shot: the same bytes for the same arguments, whatever was drawn before."""
    rng = np.random.default_rng((seed, IMAGES, shot.pid, shot.camid, shot.number, int(shot.bad)))
    eye = camera(seed, shot.camid, height, width)
    tall = height * OVERSAMPLING
    wide = round(width * OVERSAMPLING / (eye.stretch * (0.94 + 0.12 * float(rng.random()))))
    canvas = Canvas(eye.backdrop(rng, (wide, tall)), eye.shade)
    view = _box(rng, eye, wide, tall, bad=shot.bad)
    if rng.random() < COMPANY:
        _company(rng, seed, canvas, view, nearer=False)
    who = person(seed, shot.pid)
    _shadow(canvas, view, eye.shade)
    draw_person(canvas, who, _pose(rng, eye), replace(view, scale=view.scale * who.height))
    if rng.random() < HIDDEN:
        _hide(rng, seed, canvas, view)
    size = (width, height)
    image = canvas.image.resize(size, Image.Resampling.BOX)
    return eye.develop(rng, image, canvas.light.resize(size, Image.Resampling.BOX))


def _pose(rng: np.random.Generator, eye: Camera) -> Pose:
    back = math.pi if rng.random() < 0.4 else 0.0
    yaw = eye.heading + back + 0.55 * float(rng.standard_normal())
    stride = 0.06 if rng.random() < 0.2 else 0.2 + 0.3 * float(rng.random())
    return Pose(yaw=yaw, phase=2 * math.pi * float(rng.random()), stride=stride, arms=pick(rng, ARMS))


def _box(rng: np.random.Generator, eye: Camera, wide: int, tall: int, *, bad: bool) -> View:
    """Where the person stands in the box: near the middle, or off it, or hardly in it."""
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


def _shadow(canvas: Canvas, view: View, shade: float) -> None:
    turns = np.linspace(0.0, 2 * math.pi, 12, endpoint=False)
    x = view.x + (0.1 * shade + 0.19 * np.cos(turns)) * view.scale
    canvas.darken(np.stack((x, view.y + 0.03 * view.scale * np.sin(turns)), axis=1), 0.7)


def _company(rng: np.random.Generator, seed: int, canvas: Canvas, view: View, *, nearer: bool) -> None:
    """Somebody else, beside and behind the person or in front of half of them."""
    who = person(seed, STRANGERS + int(rng.integers(0, 400)))
    side = -1 if rng.random() < 0.5 else 1
    scale = view.scale * (1.1 if nearer else 0.55 + 0.3 * float(rng.random()))
    x = view.x + side * (0.2 + 0.12 * float(rng.random())) * view.scale
    y = view.y + (0.08 if nearer else -0.04) * view.scale
    pose = Pose(yaw=6.3 * float(rng.random()), phase=6.3 * float(rng.random()), stride=0.3, arms="swing")
    draw_person(canvas, who, pose, replace(view, scale=scale, x=x, y=y))


def _hide(rng: np.random.Generator, seed: int, canvas: Canvas, view: View) -> None:
    """Something in the way: a post, a low wall or bench, a bush, a board, or somebody."""
    wide, tall = canvas.image.size
    rgb: Rgb = pick(rng, CLOTH)
    what = pick(rng, {"post": 2.0, "wall": 2.0, "bush": 1.0, "board": 1.5, "person": 2.0})
    a, b = float(rng.random()), float(rng.random())
    if what == "person":
        _company(rng, seed, canvas, view, nearer=True)
    elif what == "post":
        left, half = a * wide, (0.03 + 0.06 * b) * wide
        canvas.fill(_rectangle(left - half, 0, left + half, tall), rgb, 0.95)
        canvas.darken(_rectangle(left, 0, left + half, tall), 0.7)
    elif what == "wall":
        top = tall * (0.55 + 0.3 * a)
        canvas.fill(_rectangle(0, top, wide, tall if b < 0.6 else top + 0.1 * tall), rgb, 0.9)
        canvas.darken(_rectangle(0, top, wide, top + 0.02 * tall), 1.0)
    elif what == "board":
        left, top = wide * (a - 0.25), tall * (0.2 + 0.5 * b)
        canvas.fill(_rectangle(left, top, left + 0.5 * wide, top + 0.3 * tall), rgb, 0.95)
    else:
        for x, y, size in rng.random((22, 3)).tolist():
            green = int(50 + 90 * size)
            spot = (0.06 + 0.06 * size) * wide * 2
            canvas.oval(
                (a - 0.3 + 0.6 * x) * wide, tall * (1.0 - 0.4 * y * (0.5 + b)), (spot, spot), (green // 2, green, 40)
            )


def _rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array(((left, top), (right, top), (right, bottom), (left, bottom)))
