"""A person drawn on a canvas: limbs, clothes, head and bags, the most distant ones first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from reidkit.synth.figure import (
    LOWER,
    ROWS,
    SHOES,
    SHOULDER,
    UPPER,
    Canvas,
    Points,
    Pose,
    Strip,
    View,
    draw_head,
    limb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidkit.synth.figure import Person, Rgb

HIP = 0.5
BROAD = 1.14
"""Boxes are narrow: an average figure this much broader than life fills them as real crops do."""
SLEEVELESS = 5
"""The row of an arm, of ROWS, at which its upper part in another colour ends; a short sleeve ends one below."""

_DOWN = np.linspace(0.0, 1.0, ROWS)[:, None]
_TORSO_AT = (0.0, 0.06, 0.22, 0.65, 1.0)
_TORSO_WIDTH = (0.035, 0.088, 0.098, 0.082, 0.092)
_TORSO_DEPTH = (0.04, 0.055, 0.068, 0.058, 0.066)
_HEMS = {"tee": 0.48, "long": 0.47, "jacket": 0.46, "open": 0.45, "coat": 0.3, "dress": 0.32}


# Which rows a pattern colours, and around which angles (angle, half of the width, first and last row).
ALL = (0, ROWS - 1)
_STEPS = {"stripes": 4, "hoops": 2, "checks": 4}
_EIGHT = tuple((turn * math.pi / 4, 0.16, *ALL) for turn in range(8))
_BANDS = {
    "columns": _EIGHT,
    "checks": _EIGHT,
    "sides": ((math.pi / 2, 0.5, *ALL), (-math.pi / 2, 0.5, *ALL)),
    "logo": ((0.0, 0.5, 4, 8), (math.pi, 0.5, 3, 10)),
}


def draw_person(canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
    """Draw the whole figure."""
    figure = _Figure(canvas, person, pose, view)
    parts = (figure.leg(-1), figure.leg(1), figure.arm(-1), figure.arm(1), figure.torso(), figure.bag())
    for _, draw in sorted(parts, key=lambda part: part[0]):
        draw()
    draw_head(canvas, person, pose, view)
    canvas.region = 0


_SIDES = {-1: "right", 1: "left"}
"""A person at yaw 0 looks at the camera, so that the own left side is on the right of the image."""

Part = tuple[float, "Callable[[], None]"]


def _shade(rgb: Rgb, factor: float) -> Rgb:
    red, green, blue = (min(255, int(part * factor)) for part in rgb)
    return red, green, blue


class _Figure:
    def __init__(self, canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
        self.canvas, self.person, self.pose, self.view = canvas, person, pose, view
        self.size = view.scale * person.build * BROAD
        self.hip_y = HIP * person.legs
        self.cos, self.sin = math.cos(pose.yaw), math.sin(pose.yaw)

    def project(self, *points: tuple[float, float, float]) -> tuple[Points, float]:
        """Return the pixels [N, 2] of some points of the body, and the nearness of the last one."""
        seen = [self.view.project(point, self.pose.yaw) for point in points]
        return np.array(seen)[:, :2], seen[-1][2]

    def leg(self, side: int) -> Part:
        """Draw one leg with its trouser leg and shoe."""
        person, swing = self.person, self.pose.stride * math.sin(self.pose.phase + (0 if side > 0 else math.pi))
        bend = max(0.0, self.pose.stride * 1.3 * math.cos(self.pose.phase + (0.4 if side > 0 else 0.4 + math.pi)))
        x, shin = side * 0.05 * person.hips * person.build, self.hip_y / 2 - 0.015
        knee = (x, self.hip_y - shin * math.cos(swing), shin * math.sin(swing))
        ankle = (x, knee[1] - shin * math.cos(swing - bend), knee[2] + shin * math.sin(swing - bend))
        toe = (x * 1.3, ankle[1] - 0.02 + 0.05 * math.sin(swing - bend), ankle[2] + 0.095)
        seen, toe_near = self.project((x, self.hip_y, 0.0), knee, ankle, toe)
        near = toe_near * 0.1 - side * x * self.sin
        light = 0.82 if side * self.sin > 0.3 else 1.0
        return near - 0.2, lambda: self._draw_leg(seen, side, light)

    def _draw_leg(self, seen: Points, side: int, light: float) -> None:
        person, canvas, size = self.person, self.canvas, self.size
        for name, (x, y) in zip(("hip", "knee", "ankle"), seen[:3].tolist(), strict=True):
            canvas.joint(f"{_SIDES[side]}_{name}", x, y)
        canvas.region = LOWER
        radii = (0.058 * size * person.hips, 0.04 * size, 0.024 * size)
        if person.lower != "trousers" or person.upper == "dress":
            canvas.strip(limb(seen[:3], radii, self.pose.yaw), person.skin, light)
        canvas.region = SHOES
        toe = limb(seen[2:], (0.027 * size, 0.02 * size), self.pose.yaw)
        canvas.strip(toe, person.shoes_rgb, light)
        canvas.oval(seen[2, 0], seen[2, 1], (0.027 * size, 0.022 * size), person.shoes_rgb, light)
        canvas.region = LOWER
        if person.lower == "skirt" or person.upper == "dress":
            return
        last = {"trousers": ROWS - 1, "cropped": 12, "shorts": 7}[person.lower]
        wide = 1.3 if person.lower == "shorts" else 1.12
        cloth = limb(seen[:3], (radii[0] * 1.05, radii[1] * wide, radii[2] * 1.35), self.pose.yaw)
        cut = Strip(cloth.left[: last + 1], cloth.across[: last + 1], self.pose.yaw)
        canvas.strip(cut, person.lower_rgb, light)
        if person.lower_stripe:
            self._band(cut, side * math.pi / 2, 0.5, person.second_rgb, (0, last))

    def _band(self, strip: Strip, angle: float, half: float, rgb: Rgb, rows: tuple[int, int]) -> None:
        """Another colour on a strip around that angle of the body, between two rows, as far as it is seen."""
        span = strip.around(angle, half)
        if span:
            self.canvas.cell(strip.cell(*span, *rows), rgb)

    def arm(self, side: int) -> Part:
        """Draw one arm with its sleeve and hand."""
        person, pose = self.person, self.pose
        swing = -0.8 * pose.stride * math.sin(pose.phase + (0 if side > 0 else math.pi))
        x = side * 0.104 * person.shoulders * (0.4 + 0.6 * person.build) * BROAD
        elbow = (x + side * 0.025, SHOULDER - 0.17 * math.cos(swing), 0.17 * math.sin(swing))
        turn = swing + 0.15 + max(0.0, swing) * 0.6
        wrist = (x + side * 0.02, elbow[1] - 0.16 * math.cos(turn), elbow[2] + 0.16 * math.sin(turn))
        if pose.arms == "pockets":
            elbow, wrist = (x + side * 0.05, 0.665, -0.03), (x - side * 0.01, 0.52, 0.03)
        elif pose.arms == "carry" or (pose.arms == "phone" and side > 0):
            high = 0.06 if pose.arms == "carry" else 0.2
            elbow, wrist = (x + side * 0.03, 0.665, 0.01), (x * 0.7, 0.66 + high, 0.12)
        seen, _ = self.project((x, SHOULDER - 0.01, 0.0), elbow, wrist)
        near = -x * self.sin + 0.02 * self.cos * (1 if pose.arms == "carry" else 0)
        light = 0.8 if side * self.sin > 0.3 else 1.0
        return near, lambda: self._draw_arm(seen, side, light)

    def _draw_arm(self, seen: Points, side: int, light: float) -> None:
        person, canvas, size = self.person, self.canvas, self.size
        for name, (x, y) in zip(("shoulder", "elbow", "wrist"), seen.tolist(), strict=True):
            canvas.joint(f"{_SIDES[side]}_{name}", x, y)
        canvas.region = UPPER
        thick = {"tee": 1.0, "dress": 0.95, "long": 1.05}.get(person.upper, 1.2)
        radii = (0.03 * size * thick, 0.028 * size * thick, 0.021 * size * thick)
        short = person.upper in {"tee", "dress"}
        top = person.second_rgb if person.pattern == "block" else person.upper_rgb
        canvas.oval(seen[2, 0], seen[2, 1], (0.024 * size, 0.028 * size), person.skin, light)
        canvas.oval(seen[0, 0], seen[0, 1], (radii[0], radii[0]), top, light)
        sleeve = limb(seen, radii, self.pose.yaw)
        canvas.strip(sleeve, person.skin if short else person.upper_rgb, light)
        if short:
            cloth = limb(seen, (radii[0] * 1.1, radii[1] * 1.25, radii[2]), self.pose.yaw)
            cut = Strip(cloth.left[: SLEEVELESS + 2], cloth.across[: SLEEVELESS + 2], self.pose.yaw)
            canvas.strip(cut, top, light)
        elif person.pattern == "block":
            canvas.cell(sleeve.cell(0.0, 1.0, 0, SLEEVELESS), top)
        elif person.pattern == "sides":
            self._band(sleeve, side * math.pi / 2, 0.6, person.second_rgb, ALL)
        if person.pattern in {"stripes", "hoops"} and person.upper != "open":
            for row in range(2, SLEEVELESS if short else ROWS - 2, 4):
                canvas.cell(sleeve.cell(0.0, 1.0, row, row + 1), person.second_rgb)
        if person.bag == "hand" and side == person.bag_side:
            x, y = seen[2]
            canvas.fill(_box(x, y + 0.03 * size, size, 0.012, 0.025), person.bag_rgb, light * 0.8)
            canvas.fill(_box(x, y + 0.09 * size, size, 0.05, 0.045), person.bag_rgb, light * 0.95)

    def torso(self) -> Part:
        """Draw the trunk, a skirt, and the patterns on them."""
        return 0.0, self._draw_torso

    def _trunk(self, bottom: float) -> Strip:
        person = self.person
        reach = _DOWN[:, 0] * (SHOULDER + 0.025 - bottom) / (SHOULDER + 0.025 - HIP)
        broad = np.interp(reach, (0.0, 0.3, 1.0), (person.shoulders, person.shoulders, person.hips))
        flare = 1.0 + 0.45 * np.maximum(0.0, reach - 1.0)
        width = np.interp(reach, _TORSO_AT, _TORSO_WIDTH) * broad * flare
        depth = np.interp(reach, _TORSO_AT, _TORSO_DEPTH) * flare
        half = np.hypot(width * self.cos, depth * self.sin) * self.size
        ends, _ = self.project((0.0, SHOULDER + 0.025, 0.0), (0.0, bottom, 0.0))
        middle = ends[0] + (ends[1] - ends[0]) * _DOWN
        offset = half[:, None] * np.array((math.cos(self.view.tilt), math.sin(self.view.tilt)))
        return Strip(middle - offset, 2.0 * offset, self.pose.yaw)

    def _draw_torso(self) -> None:
        person, canvas = self.person, self.canvas
        canvas.region = UPPER if person.upper == "dress" else LOWER
        if person.lower == "skirt" and person.upper != "dress":
            canvas.strip(self._trunk(0.3), person.lower_rgb)
        else:
            canvas.strip(self._trunk(0.45), person.upper_rgb if person.upper == "dress" else person.lower_rgb)
        canvas.region = UPPER
        trunk = self._trunk(_HEMS[person.upper])
        canvas.strip(trunk, person.upper_rgb)
        self._draw_pattern(trunk)
        if person.upper in {"open", "coat"}:
            self._band(trunk, 0.0, 0.4, person.second_rgb, (0, ROWS - 2))
        elif person.upper == "jacket":
            self._band(trunk, 0.0, 0.06, _shade(person.upper_rgb, 0.55), ALL)
        if person.bag == "backpack":
            for angle in (-0.75, 0.75):
                self._band(trunk, angle, 0.14, person.bag_rgb, (0, 7))
        if person.bag == "shoulder":
            self._draw_strap()

    def _draw_pattern(self, trunk: Strip) -> None:
        pattern, rgb = self.person.pattern, self.person.second_rgb
        step = _STEPS.get(pattern)
        if step:
            for row in range(1, ROWS - 1, step):
                self.canvas.cell(trunk.cell(0.0, 1.0, row, row + step // 2), rgb)
        if pattern == "block":
            self.canvas.cell(trunk.cell(0.0, 1.0, 0, 6), rgb)
        for angle, half, first, last in _BANDS.get(pattern, ()):
            self._band(trunk, angle, half, _shade(rgb, 0.7) if step else rgb, (first, last))

    def _draw_strap(self) -> None:
        side, front = self.person.bag_side, 0.05 if self.cos > 0 else -0.05
        seen, _ = self.project((-side * 0.06, SHOULDER + 0.01, front), (side * 0.09, HIP + 0.03, front))
        strap = limb(seen, (0.011 * self.size, 0.011 * self.size), self.pose.yaw)
        self.canvas.fill(strap.cell(0.0, 1.0), self.person.bag_rgb)

    def bag(self) -> Part:
        """Draw a backpack or a shoulder bag; a handbag is drawn with its arm."""
        person = self.person
        if person.bag == "backpack":
            seen, near = self.project((0.0, 0.7, -0.1))
            half = math.hypot(0.085 * self.cos, 0.055 * self.sin)
        elif person.bag == "shoulder":
            seen, near = self.project((person.bag_side * 0.12, 0.47, 0.0))
            half = math.hypot(0.035 * self.cos, 0.08 * self.sin)
        else:
            return 0.0, lambda: None
        high = 0.12 if person.bag == "backpack" else 0.06

        def draw() -> None:
            self.canvas.region = UPPER
            x, y = seen[0]
            corners = _box(x, y, self.size, half, high)
            self.canvas.fill(corners, person.bag_rgb, 0.95)
            lid = corners.copy()
            lid[2:, 1] = y - 0.25 * (y - lid[:2, 1].min())
            self.canvas.cell(lid, _shade(person.bag_rgb, 1.25))
            self.canvas.darken(corners[[1, 2]].repeat(2, 0) - ((0, 0), (half * self.size * 0.6, 0)) * 2, 0.7)

        return near * 3, draw


def _box(x: float, y: float, size: float, half: float, high: float = 0.0) -> Points:
    """Return the corners of a box round (x, y), clockwise from the top left, in pixels."""
    wide, tall = half * size, high * size
    return np.array(
        ((x - wide, y - tall), (x + wide, y - tall), (x + 0.94 * wide, y + tall), (x - 0.94 * wide, y + tall))
    )
