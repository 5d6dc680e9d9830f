"""Where points of a body are seen, which sides of it, and what covers what."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reidkit.synth.dress import draw_person
from reidkit.synth.figure import BAGS, LOWERS, PATTERNS, ROWS, STYLES, UPPERS, Canvas, Pose, View, limb, person

STRAIGHT = View(pitch=0.0, tilt=0.0, scale=100.0, x=30.0, y=110.0)


def test_a_level_camera_by_hand() -> None:
    """Feet at (30, 110) and 100 pixels a body: the top of the head is at (30, 10), a hand 0.2 to the left at x = 50."""
    assert STRAIGHT.project((0.0, 1.0, 0.0), 0.0) == pytest.approx((30.0, 10.0, 0.0))
    assert STRAIGHT.project((0.2, 0.5, 0.0), 0.0) == pytest.approx((50.0, 60.0, 0.0))


def test_turning_by_hand() -> None:
    """At yaw 90 degrees the front points right, at 180 degrees left and right are swapped and the back is near."""
    assert STRAIGHT.project((0.0, 0.5, 0.1), math.pi / 2) == pytest.approx((40.0, 60.0, 0.0))
    assert STRAIGHT.project((0.2, 0.5, -0.1), math.pi) == pytest.approx((10.0, 60.0, 0.1))


def test_from_above_near_things_are_lower() -> None:
    view = View(pitch=0.3, tilt=0.0, scale=100.0, x=0.0, y=0.0)
    assert view.project((0.0, 0.5, 0.2), 0.0)[1] > view.project((0.0, 0.5, -0.2), 0.0)[1]


def test_a_straight_limb_by_hand() -> None:
    """From (10, 0) down to (10, 16), radius 2 and then 4: the left edge runs from x = 8 to x = 6."""
    strip = limb(np.array(((10.0, 0.0), (10.0, 16.0))), (2.0, 4.0), 0.0)
    assert strip.left[:, 0] == pytest.approx(np.linspace(8.0, 6.0, ROWS))
    assert (strip.left + strip.across)[:, 0] == pytest.approx(np.linspace(12.0, 14.0, ROWS))
    assert strip.left[:, 1] == pytest.approx(np.linspace(0.0, 16.0, ROWS))


def test_the_front_is_seen_from_the_front_only() -> None:
    """A logo of half a radian: in the middle at yaw 0, at the edge at 90 degrees, away at 180."""
    joints = np.array(((0.0, 0.0), (0.0, 10.0)))
    ahead = limb(joints, (1.0, 1.0), 0.0).around(0.0, 0.5)
    assert ahead == pytest.approx((0.5 - 0.5 * math.sin(0.5), 0.5 + 0.5 * math.sin(0.5)))
    aside = limb(joints, (1.0, 1.0), math.pi / 2).around(0.0, 0.5)
    assert aside == pytest.approx((0.5 + 0.5 * math.cos(0.5), 1.0))
    assert limb(joints, (1.0, 1.0), math.pi).around(0.0, 0.5) is None


def test_what_covers_a_colour_covers_its_shade() -> None:
    canvas = Canvas(Image.new("RGB", (20, 20), (9, 9, 9)), shade=1.0)
    joints = np.array(((10.0, 0.0), (10.0, 19.0)))
    canvas.strip(limb(joints, (8.0, 8.0), 0.0), (200, 0, 0))
    assert canvas.light.getpixel((16, 10)) == 127
    canvas.fill(limb(joints, (8.0, 8.0), 0.0).cell(0.0, 1.0), (0, 200, 0))
    assert canvas.light.getpixel((16, 10)) == 255
    assert canvas.image.getpixel((16, 10)) == (0, 200, 0)
    assert canvas.image.getpixel((0, 10)) == (9, 9, 9)


@pytest.mark.parametrize("yaw", [0.0, 1.6, 3.1, -1.6])
@pytest.mark.parametrize("arms", ["swing", "phone", "pockets", "carry"])
def test_every_wardrobe_fills_a_body(yaw: float, arms: str) -> None:
    """The figure covers a plausible part of the box between head and feet, and nothing but a bun above."""
    body = person(0, 1)
    people = [replace(body, upper=upper, lower=lower) for upper in UPPERS for lower in LOWERS]
    people += [replace(body, pattern=pattern) for pattern in PATTERNS]
    people += [replace(body, hair=hair, bag=bag) for hair in STYLES for bag in BAGS]
    for one in people:
        image = Image.new("RGB", (80, 120), (255, 0, 255))
        draw_person(Canvas(image, 0.5), one, Pose(yaw=yaw, phase=1.0, stride=0.3, arms=arms), STRAIGHT)
        drawn = (np.asarray(image) != (255, 0, 255)).any(axis=2)
        assert 0.1 < drawn.mean() < 0.5
        assert not drawn[:4].any()
        assert not drawn[118:].any()
        assert drawn[12:100].any(axis=1).all()


def test_a_back_is_not_a_front() -> None:
    """Somebody with a backpack looks different from behind."""
    one = next(one for one in (person(0, pid) for pid in range(1, 50)) if one.bag == "backpack")
    seen = []
    for yaw in (0.0, math.pi):
        image = Image.new("RGB", (80, 120))
        draw_person(Canvas(image, 0.0), one, Pose(yaw=yaw, phase=0.0, stride=0.0, arms="swing"), STRAIGHT)
        seen.append((np.abs(np.asarray(image, int) - one.bag_rgb) < 3).all(axis=2).sum())
    assert seen[1] > 3 * seen[0]
