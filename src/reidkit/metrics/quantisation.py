"""Features as whole numbers of eight bits: x = scale * code + rest, after a rotation that keeps the rest short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.int8]
    Doubles = NDArray[np.float64]
    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]


class Rotation:
    """A rotation that spreads a large coordinate over others, so that whole numbers leave little out of a feature.

    Signs are changed at random, and blocks of coordinates are mixed by a part of a fast Hadamard transform. Products
    stay what they are. Of trained features the largest coordinate is 8 times the root mean square, and 3.5 times after
    this; so much smaller is what is left out.
    """

    def __init__(self, dim: int) -> None:
        self.signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), dim)
        block = dim & -dim  # the largest power of two that divides it
        strides = [stride for stride in (2**n for n in range(15, -1, -1)) if stride < block]
        # Strides below 16 are slow, and needed only where there are few others.
        self.strides = np.array([stride for stride in strides if stride >= 16 or block < 512], np.int64)

    def turn(self, weights_d: Doubles) -> Doubles:
        """Return a query turned as the rows are, in double precision."""
        turned: Doubles = weights_d * self.signs
        mix(turned, self.strides)
        scaled: Doubles = turned / 2.0 ** (len(self.strides) / 2)
        return scaled


@compiled
def mix(turned_d: Any, strides: Integers) -> None:
    """Replace pairs of coordinates by their sums and differences, in place."""
    for stride in strides:
        for start in range(0, turned_d.shape[0], 2 * stride):
            for d in range(start, start + stride):
                one, other = turned_d[d], turned_d[d + stride]
                turned_d[d], turned_d[d + stride] = one + other, one - other


@compiled
def turn_unit(vector_d: Floats, signs_d: Floats, strides: Integers, turned_d: Floats) -> bool:
    """Write a feature, scaled to length one and turned, to `turned_d`; whether it is not zero."""
    square = 0.0
    for d in range(vector_d.shape[0]):
        square += np.float64(vector_d[d]) * np.float64(vector_d[d])
    if square == 0:
        return False
    factor = 1 / np.sqrt(square * 2.0 ** strides.shape[0])
    for d in range(vector_d.shape[0]):
        turned_d[d] = np.float32(np.float64(vector_d[d]) * factor) * signs_d[d]
    mix(turned_d, strides)
    return True


@compiled
def encode(turned_d: Floats, codes_d: Codes) -> tuple[Any, Any]:
    """Write a feature as whole numbers; of what length one of them is, and the length of what is left out."""
    largest = np.float32(0)
    for d in range(turned_d.shape[0]):
        largest = max(largest, abs(turned_d[d]))
    scale = largest / np.float32(127)
    inverse, rest = np.float32(1) / scale, np.float32(0)
    for d in range(turned_d.shape[0]):
        # Rounding of the scale can push the largest value past 127 by a tiny part of one step.
        code = min(np.float32(127), max(np.float32(-127), np.rint(turned_d[d] * inverse)))
        codes_d[d] = np.int8(code)
        missing = turned_d[d] - code * scale
        rest += missing * missing
    return scale, np.sqrt(rest)


@compiled
def quantise(
    vectors_nd: Floats, rotation: tuple[Floats, Integers], codes_nd: Codes, scale_n: Floats, left_n: Floats
) -> None:
    """Write features, scaled to length one and turned, as whole numbers of -127 to 127, and what these leave out.

    Args:
        vectors_nd: N features; a row of zeros stays.
        rotation: signs and strides of a `Rotation`.
        codes_nd: written.
        scale_n: written: of what length a code of one is.
        left_n: written: the length of x - scale * code, rounded up beyond all errors of single precision.
    """
    turned_d = np.empty(vectors_nd.shape[1], np.float32)
    margin = 1 + 1e-3 + vectors_nd.shape[1] * 2.0**-24
    for n in range(vectors_nd.shape[0]):
        if turn_unit(vectors_nd[n], rotation[0], rotation[1], turned_d):
            scale, left = encode(turned_d, codes_nd[n])
            scale_n[n], left_n[n] = scale, left * margin + 1e-5
        else:
            codes_nd[n] = 0
            scale_n[n], left_n[n] = 0, 0
