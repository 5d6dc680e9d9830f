"""A head: neck, face and hair, in lengths of the body height round the middle of the head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from reidkit.synth.figure import SHOULDER, limb

if TYPE_CHECKING:
    from reidkit.synth.figure import Canvas, Pose, View
    from reidkit.synth.people import Person, Rgb

LARGER = 1.1
"""Heads are drawn this much larger than life: of a face nine pixels wide little is left otherwise."""

_EYES = (40, 32, 30)
_DOWN_THE_BACK = {"long": (0.16, 0.056), "tail": (0.14, 0.018), "bob": (0.07, 0.056)}
"""How long and how wide hair hangs."""


def draw_head(canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
    """Draw the head on shoulders that are drawn already."""
    points = ((0.0, SHOULDER + 0.01, 0.0), (0.0, 0.865, 0.01), (0.0, 0.93, 0.015), (0.0, 0.8, -0.035))
    throat, chin, middle, nape = (view.project(point, pose.yaw)[:2] for point in points)
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
        """An ellipse at (x, y) from the middle, y down."""
        size = self.size
        place = self.middle[0] + x * size, self.middle[1] + y * size
        self.canvas.oval(*place, (half[0] * size, half[1] * size), rgb, light)

    def hang(self, end: tuple[float, float], half: tuple[float, float], rgb: Rgb) -> None:
        """Hair from the middle of the head to a pixel, half its width at the top and at the end."""
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
