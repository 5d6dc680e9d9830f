"""Compiled loops over features: exact cosines, features in eight bits, products with them, and what these can miss.

**Certificate.** A feature x of length one, turned by a rotation that changes no product, is kept as a scale and whole
numbers, x = s c + r, and so is the query, w = t d + e. Then w.x = s t (c.d) + s c.e + w.r, so that by Cauchy-Schwarz
the product of whole numbers is off by at most |e| |s c| + |w| |r| <= |e| (1 + |r|) + |w| |r| (`Coded.errors`). Whatever
may still be among the first k by this bound is computed in double precision: what is returned is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]
    Codes = NDArray[np.int8]

ROUNDING = 2e-6
"""What single precision may add to the error, for a query of length one: a few roundings of numbers of up to one."""

SUM = 2**31 - 1
"""The largest sum of products that 32 bits hold."""


@compiled
def cosines(vectors_nd: Floats, weights_d: Doubles) -> Doubles:
    """Compute w.x / |x| of every row x, in double precision and in one order: equal rows give equal bits.

    A row of zeros gives 0. Nothing in single precision is too large or too small to be squared in double precision.
    """
    out_n = np.zeros(vectors_nd.shape[0])
    for n in range(vectors_nd.shape[0]):
        product, square = 0.0, 0.0
        for d in range(vectors_nd.shape[1]):
            value = np.float64(vectors_nd[n, d])
            product += value * weights_d[d]
            square += value * value
        if square > 0:
            out_n[n] = product / np.sqrt(square)
    return out_n


@dataclass(frozen=True, eq=False)
class Coded:
    """A query w as whole numbers: w = scale * code + e, with the lengths of w and e.

    Attributes:
        code: int16 [D], so small that no sum of products with int8 [D] leaves 32 bits; or int8 [D].
    """

    code: NDArray[Any]
    scale: float
    length: float
    left: float

    @classmethod
    def of(cls, weights_d: Doubles, largest: int) -> Coded:
        """Make a query of `weights_d`, with codes of up to `largest`, 127 or more."""
        length = float(np.linalg.norm(weights_d))
        # |sum of products| <= |code| |row|, and a row is no longer than 127 sqrt(D).
        limit = 0.98 * SUM / (127 * len(weights_d) ** 0.5) if largest > 127 else np.inf
        scale = max(float(np.abs(weights_d).max()) / largest, length / limit) * (1 + 1e-3) or 1.0
        code = np.rint(weights_d / scale)
        kind = np.int16 if largest > 127 else np.int8
        return cls(code.astype(kind), scale, length, float(np.linalg.norm(weights_d - scale * code)))

    @property
    def pair(self) -> tuple[Any, float]:
        """Codes and scale, as the loops take them."""
        return self.code, self.scale

    def bound(self, left_n: Floats) -> Floats:
        """Return how far approximate products with rows may be off, from what these leave out."""
        per_row, fixed = self.errors
        return left_n * np.float32(per_row) + np.float32(fixed)

    @property
    def errors(self) -> tuple[float, float]:
        """The error for each unit of what a row leaves out, and the error of all rows."""
        return (self.length + self.left) * (1 + 1e-6), self.left + ROUNDING * self.length


@compiled
def scan(
    codes_nd: Codes, scale_n: Floats, passed_n: NDArray[np.bool_], query: tuple[NDArray[np.int16], float], out_n: Floats
) -> None:
    """Write the approximate products of all rows that passed to `out_n`, and -infinity for the others."""
    code_d, factor = query
    for n in range(codes_nd.shape[0]):
        if not passed_n[n]:
            out_n[n] = -np.inf
            continue
        total = np.int32(0)
        for d in range(codes_nd.shape[1]):
            # Cast at each step: in 64 bits, as numba would compute, a register holds half as many.
            total = np.int32(total + np.int32(np.int32(codes_nd[n, d]) * np.int32(code_d[d])))
        out_n[n] = total * factor * scale_n[n]


@compiled
def scan_rows(
    codes_nd: Codes, scale_n: Floats, rows_m: Integers, query: tuple[NDArray[np.int16], float], out_m: Floats
) -> None:
    """Write the approximate products of these rows to `out_m`."""
    code_d, factor = query
    for m in range(rows_m.shape[0]):
        n = rows_m[m]
        total = np.int32(0)
        for d in range(codes_nd.shape[1]):
            total = np.int32(total + np.int32(np.int32(codes_nd[n, d]) * np.int32(code_d[d])))
        out_m[m] = total * factor * scale_n[n]


@compiled
def scale_products(
    products_nq: NDArray[np.int32], scale_n: Floats, passed_n: NDArray[np.bool_], factors_q: Floats, out_qn: Floats
) -> None:
    """Write products of whole numbers as approximate products, -infinity for rows that did not pass."""
    for n in range(products_nq.shape[0]):
        scale = scale_n[n] if passed_n[n] else np.float32(np.nan)
        for q in range(products_nq.shape[1]):
            out_qn[q, n] = products_nq[n, q] * factors_q[q] * scale if passed_n[n] else -np.inf


@compiled
def largest(values_n: Floats, count: int) -> tuple[Integers, float]:
    """Find `count` of the largest values: their indices, in no order, and the smallest of them.

    A heap of so many: most values are compared with its smallest one and passed over.
    """
    heap, where, size = np.empty(count, np.float32), np.empty(count, np.int64), 0
    for n in range(values_n.shape[0]):
        value = values_n[n]
        if size < count:
            at, size = size, size + 1
            while at > 0 and heap[(at - 1) // 2] > value:
                heap[at], where[at] = heap[(at - 1) // 2], where[(at - 1) // 2]
                at = (at - 1) // 2
            heap[at], where[at] = value, n
        elif value > heap[0]:
            at, child = 0, 1
            while child < count:
                if child + 1 < count and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[at], where[at] = heap[child], where[child]
                at, child = child, 2 * child + 1
            heap[at], where[at] = value, n
    return where[:size], float(heap[0]) if size else -np.inf


@compiled
def possible(values_n: Floats, left_n: Floats, errors: tuple[float, float], least: float) -> Integers:
    """Find the rows whose exact product may be `least` or more, by `Coded.errors`."""
    found, size = np.empty(values_n.shape[0], np.int64), 0
    for n in range(values_n.shape[0]):
        if np.float64(values_n[n]) + errors[0] * np.float64(left_n[n]) + errors[1] >= least:
            found[size] = n
            size += 1
    return found[:size].copy()
