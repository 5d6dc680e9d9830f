"""Where a linear classifier of two-dimensional features changes its mind: exact, not by painting a grid."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TOLERANCE = 1e-9


class Segment(NamedTuple):
    """A piece of the hyperplane between two classes: its ends [2, 2], and the classes that tie on it."""

    ends: Array
    classes: tuple[int, int]


def boundaries(weight_c2: Array, bias_c: Array, window: tuple[float, float, float, float]) -> list[Segment]:
    """The hyperplanes (w_i - w_j) x + b_i - b_j = 0 of every pair, cut to where both classes have the largest score.

    `window` is (left, right, bottom, top); what lies outside is cut off. A pair with equal weights has no hyperplane.
    """
    weight, bias = np.asarray(weight_c2, np.float64), np.asarray(bias_c, np.float64)
    found = []
    for i, j in itertools.combinations(range(len(weight)), 2):
        normal, offset = weight[i] - weight[j], bias[i] - bias[j]
        length = float(np.linalg.norm(normal))
        if length < TOLERANCE:
            continue
        foot, along = -offset * normal / length**2, np.array([-normal[1], normal[0]]) / length
        inside = _inequalities(weight, bias, i, window)
        low, high = _interval(inside, foot, along)
        if high - low > TOLERANCE:
            found.append(Segment(np.stack([foot + low * along, foot + high * along]), (i, j)))
    return found


def _inequalities(weight: Array, bias: Array, winner: int, window: tuple[float, float, float, float]) -> Array:
    """Rows (a, b, c) that mean a x + b y + c >= 0: no class beats `winner`, and the point is in the window."""
    left, right, bottom, top = window
    ahead = np.column_stack([weight[winner] - weight, bias[winner] - bias])
    frame = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -bottom], [0, -1, top]], np.float64)
    return np.vstack([np.delete(ahead, winner, axis=0), frame])


def _interval(inequalities: Array, foot: Array, along: Array) -> tuple[float, float]:
    """Between which t the point `foot + t * along` keeps all of them; the second is less than the first if nowhere."""
    constant = inequalities[:, :2] @ foot + inequalities[:, 2]
    slope = inequalities[:, :2] @ along
    level = np.abs(slope) < TOLERANCE
    if (constant[level] < -1e-7).any():
        return 0.0, -1.0
    rising, falling = ~level & (slope > 0), ~level & (slope < 0)
    low = (-constant[rising] / slope[rising]).max(initial=-np.inf)
    high = (-constant[falling] / slope[falling]).min(initial=np.inf)
    return float(low), float(high)
