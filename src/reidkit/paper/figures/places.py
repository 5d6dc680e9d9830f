"""Where the names of points go, so that they cover neither points nor each other. Units are printer's points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reidkit.report.canvas import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

Rectangle = tuple[float, float, float, float]
Offer = tuple[tuple[float, float], str]
"""How far from its point a name stands, and which side of it is there."""

MOST = 28
"""Letters of a name that are drawn."""

RADIUS, APART = 5.0, 6.0
"""Of a point's mark; and the least space between two names on a line."""


class Name(NamedTuple):
    """A name to be placed: where its point is, the name's width and height, and how near it may come."""

    point: tuple[float, float]
    size: tuple[float, float]
    near: float


def width(name: str, size: float, *, bold: bool) -> float:
    """About how wide a name is in letters of this size."""
    return (0.68 if bold else 0.6) * size * len(shown(name, MOST))


def spread(values: Sequence[float], length: float) -> list[float]:
    """The values on a scale from 0 to `length`."""
    low, high = min(values), max(values)
    return [length * (value - low) / (high - low or 1.0) for value in values]


def place(
    names: Sequence[Name], order: Sequence[int], free: Sequence[Rectangle], panel: tuple[float, float]
) -> list[Offer]:
    """For each name the first offer with the least overlap; they choose in `order`, and `free` stays free.

    A name that would leave the panel by its side loses more than one that covers another.
    """
    taken = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for (x, y), _, _ in names] + [*free]
    found: dict[int, Offer] = {}
    for number in order:
        (x, y), size, near = names[number]
        offers = _offers(near)
        boxes = [_box(x + dx, y + dy, size, side) for (dx, dy), side in offers]
        clashes = [sum(overlap(box, other) for other in taken) + _outside(box, panel[0]) for box in boxes]
        best = min(range(len(boxes)), key=lambda i: (round(clashes[i]), i))
        left, low, right, high = boxes[best]
        taken.append((left - APART, low, right + APART, high))
        found[number] = offers[best]
    return [found[number] for number in range(len(names))]


def overlap(a: Rectangle, b: Rectangle) -> float:
    """The area that two rectangles (left, low, right, high) share."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _offers(near: float) -> list[Offer]:
    return [
        ((dx, dy), side)
        for far in (1, 1.7, 2.6)
        for dx, dy, side in (
            (near * far, 0.0, "left"),
            (-near * far, 0.0, "right"),
            (near, 10 * far, "left"),
            (near, -10 * far, "left"),
            (-near, 10 * far, "right"),
            (-near, -10 * far, "right"),
            (0.0, 13 * far, "center"),
            (0.0, -13 * far, "center"),
        )
    ]


def _box(x: float, y: float, size: tuple[float, float], side: str) -> Rectangle:
    left = {"left": x, "right": x - size[0], "center": x - size[0] / 2}[side]
    return left, y - size[1] / 2, left + size[0], y + size[1] / 2


def _outside(box: Rectangle, wide: float) -> float:
    """What it costs to stand outside a panel of this width, which has a margin of 7 % on both sides."""
    return 30 * (max(0.0, box[2] - 1.07 * wide) + max(0.0, -0.07 * wide - box[0]))
