"""The rows of a gallery as they are searched: features in eight bits and the columns of filters, in memory.

A search works on a `Snapshot`, which no later change touches: new rows are written behind those that it counts, and
what is removed is noted in a new array. Features in single precision stay where they are; those of a few rows are asked
for. How a search is exact nevertheless is said in `kernels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.gallery.filters import Columns
from reidkit.gallery.kernels import (
    Coded,
    cosines,
    largest,
    possible,
    scale_products,
    scan,
    scan_rows,
)
from reidkit.gallery.query_search import Found, nearest_first
from reidkit.metrics.quantisation import Rotation, quantise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from reidkit.gallery.filters import Filter

    Codes = NDArray[np.int8]
    Doubles = NDArray[np.float64]
    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

    Fetch = Callable[[Integers], Floats]
    """Features float32 [n, D] of rows by their ids."""

ROWS = 65_536
"""Rows of a chunk of codes. Memory that was never written is never taken, so that a small gallery takes little."""

FEW = 8
"""Up to so many queries are scanned one by one; more are multiplied together."""

MOST = 0.25
"""Where a filter leaves less than this part of all rows, queries are always scanned one by one."""

NARROW = 16
"""Features of fewer numbers are never multiplied together: nothing is gained, and torch errs where there is one."""

TOGETHER = 64
"""Queries that are multiplied at a time."""

BLOCK = 4096
"""Rows that are multiplied at a time."""

PRODUCTS = 2**25
"""Products that are kept at a time: 128 MB."""

FETCHED = 2048
"""Features that are asked for at a time."""

DEAD = 0.25
"""All is written anew when more than this part of the rows was removed."""

_COLUMNS = {
    "ids": np.int64,
    "scale": np.float32,
    "left": np.float32,
    "cameras": np.int32,
    "pids": np.int64,
    "times": np.int64,
}


class NewRows(NamedTuple):
    """Rows to be added: ids rising, columns as `Columns` has them, features float32 [N, D]."""

    ids: Integers
    cameras: NDArray[np.int32]
    pids: Integers
    times: Integers
    vectors: Floats


class Index:
    """What changes: rows are added and removed, by one thread at a time."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._rotation = Rotation(dim)
        self.names: dict[str, int] = {}  # the number of each camera by its name
        self._clear()

    def _clear(self) -> None:
        self._count, self._dead = 0, 0
        self._columns: dict[str, NDArray[Any]] = {name: np.empty(0, kind) for name, kind in _COLUMNS.items()}
        self._alive = np.empty(0, np.bool_)
        self._codes: list[Codes] = []
        self._snapshot: Snapshot | None = None

    def add(self, new: NewRows) -> None:
        """Add rows whose ids are above all others."""
        self._reserve(len(new.ids))
        into = slice(self._count, self._count + len(new.ids))
        for name in ("ids", "cameras", "pids", "times"):
            self._columns[name][into] = getattr(new, name)
        self._alive[into] = True
        for first, codes in self._spans(into):
            rows = slice(first, first + len(codes))
            vectors = new.vectors[first - into.start : rows.stop - into.start]
            rotation = self._rotation.signs, self._rotation.strides
            quantise(vectors, rotation, codes, self._columns["scale"][rows], self._columns["left"][rows])
        self._count = into.stop
        self._snapshot = None

    def remove(self, ids: Integers) -> None:
        """Remove rows; ids that are not there are passed over."""
        mask = members(self._columns["ids"][: self._count], ids)
        alive = self._alive.copy()  # older snapshots keep theirs
        alive[: self._count] &= ~mask
        self._alive = alive
        self._dead = self._count - int(alive[: self._count].sum())
        self._snapshot = None
        if self._dead > DEAD * self._count:
            self._compact()

    def snapshot(self) -> Snapshot:
        """Return the rows as they are now."""
        if self._snapshot is None:
            columns = {name: column[: self._count] for name, column in self._columns.items()}
            codes = [codes for _, codes in self._spans(slice(0, self._count))]
            alive = self._alive[: self._count]
            self._snapshot = Snapshot(self._rotation, codes, **columns, alive=alive, names=dict(self.names))
        return self._snapshot

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the rows take."""
        return self._count * (self._dim + 1 + sum(np.dtype(kind).itemsize for kind in _COLUMNS.values()))

    def _reserve(self, more: int) -> None:
        """Make room for more rows: columns are copied into longer ones, codes never."""
        needed = self._count + more
        if needed > len(self._alive):
            size = max(needed, self._count + self._count // 8, 1024)
            self._columns = {name: _longer(column, size) for name, column in self._columns.items()}
            self._alive = _longer(self._alive, size)
        while len(self._codes) * ROWS < needed:
            self._codes.append(np.empty((ROWS, self._dim), np.int8))

    def _spans(self, rows: slice) -> Iterator[tuple[int, Codes]]:
        """Yield the first row and the codes of each chunk's part of these rows."""
        first = rows.start
        while first < rows.stop:
            chunk = first // ROWS
            last = min((chunk + 1) * ROWS, rows.stop)
            yield first, self._codes[chunk][first - chunk * ROWS : last - chunk * ROWS]
            first = last

    def _compact(self) -> None:
        """Write what is left anew. What was removed stays in memory as long as a search runs on it, and no longer."""
        old, kept = self.snapshot(), self._alive[: self._count].copy()
        self._clear()
        self._reserve(int(kept.sum()))
        for first, codes in old.spans():
            some = kept[first : first + len(codes)]
            into = slice(self._count, self._count + int(some.sum()))
            for name in _COLUMNS:
                self._columns[name][into] = getattr(old, name)[first : first + len(codes)][some]
            packed, at = codes[some], 0
            for _, ours in self._spans(into):
                ours[:] = packed[at : at + len(ours)]
                at += len(ours)
            self._alive[into] = True
            self._count = into.stop


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Rows that nobody changes any more, N of them, by their numbers 0 to N - 1; removed ones are not `alive`."""

    rotation: Rotation
    codes: list[Codes]
    ids: Integers
    scale: Floats
    left: Floats
    cameras: NDArray[np.int32]
    pids: Integers
    times: Integers
    alive: Mask
    names: Mapping[str, int]

    @cached_property
    def size(self) -> int:
        """How many rows there are."""
        return int(np.count_nonzero(self.alive))

    def spans(self) -> Iterator[tuple[int, Codes]]:
        """Yield the number of the first row of each chunk, and its codes."""
        first = 0
        for codes in self.codes:
            yield first, codes
            first += len(codes)

    def passed(self, matching: Filter) -> Mask | None:
        """Return which rows are there and meet a filter; None where it needs more than the columns."""
        if not matching:
            return self.alive
        mask = matching.mask(Columns(self.cameras, self.pids, self.times, self.names))
        return None if mask is None else mask & self.alive

    def among(self, ids: Integers) -> Mask:
        """Return which rows are there and have these ids."""
        return members(self.ids, ids) & self.alive

    def nearest(self, weights: Doubles, passed: Mask, wanted: tuple[int, float], fetch: Fetch) -> list[Found]:
        """Find the nearest rows of each query exactly.

        Args:
            weights: Q queries [Q, D].
            passed: which rows are searched.
            wanted: how many rows, and their least similarity.
            fetch: gives features of rows by their ids.
        """
        total = int(np.count_nonzero(passed))
        wanted = min(wanted[0], total), wanted[1]
        if not total:
            return [Found(np.zeros(0, np.int64), np.zeros(0), 0, 0) for _ in weights]
        # A mask over nearly all rows costs less than their numbers do.
        rows = None if 2 * total > len(passed) else np.flatnonzero(passed)
        found: list[Found] = []
        if len(weights) <= FEW or total < MOST * len(passed) or weights.shape[1] < NARROW:
            for one in weights:
                query = Coded.of(self.rotation.turn(one), 32_767)
                values = self._scan(query, passed) if rows is None else self._scan_rows(query, rows)
                found.append(self._settle((one, query), (rows, values), wanted, fetch)._replace(passed=total))
            return found
        together = max(1, min(TOGETHER, PRODUCTS // len(passed)))
        for first in range(0, len(weights), together):
            some = weights[first : first + together]
            for one, candidates in zip(some, self._multiply(some, passed, wanted), strict=True):
                query = Coded.of(self.rotation.turn(one), 32_767)
                values = self._scan_rows(query, candidates)
                found.append(self._settle((one, query), (candidates, values), wanted, fetch)._replace(passed=total))
        return found

    def _scan(self, query: Coded, passed: Mask) -> Floats:
        """Compute approximate products with all rows, [N]; -infinity for those that did not pass."""
        values = np.empty(len(passed), np.float32)
        for first, codes in self.spans():
            span = slice(first, first + len(codes))
            scan(codes, self.scale[span], passed[span], query.pair, values[span])
        return values

    def _scan_rows(self, query: Coded, rows: Integers) -> Floats:
        """Compute approximate products with these rows, which rise."""
        values = np.empty(len(rows), np.float32)
        for first, codes in self.spans():
            start, stop = np.searchsorted(rows, (first, first + len(codes))).tolist()
            if start < stop:
                scale = self.scale[first : first + len(codes)]
                scan_rows(codes, scale, rows[start:stop] - first, query.pair, values[start:stop])
        return values

    def _multiply(self, weights: Doubles, passed: Mask, wanted: tuple[int, float]) -> Iterator[Integers]:
        """Yield for each query the rows that may be among its nearest, by products of eight bits with eight bits."""
        import torch

        queries = [Coded.of(self.rotation.turn(one), 127) for one in weights]
        codes = torch.from_numpy(np.stack([query.code for query in queries])).T
        factors = np.array([query.scale for query in queries], np.float32)
        values = np.empty((len(queries), len(passed)), np.float32)
        for start, chunk in self.spans():
            for first in range(0, len(chunk), BLOCK):
                block = torch.from_numpy(chunk[first : first + BLOCK])
                span = slice(start + first, start + first + len(block))
                products = torch._int_mm(block, codes).numpy()
                scale_products(products, self.scale[span], passed[span], factors, values[:, span])
        count, least = wanted
        for query, those in zip(queries, values, strict=True):
            best, _ = largest(those, count)
            # So many rows reach this in truth, so that all others must be able to.
            reached = float((those[best] - query.bound(self.left[best])).min())
            yield possible(those, self.left, query.errors, max(reached, least))

    def _settle(
        self,
        query: tuple[Doubles, Coded],
        scanned: tuple[Integers | None, Floats],
        wanted: tuple[int, float],
        fetch: Fetch,
    ) -> Found:
        """Compute exactly what may be among the first; `scanned` are rows (None: all) and approximate products."""
        (weights, coded), (rows, values), (count, least) = query, scanned, wanted
        left = self.left if rows is None else self.left[rows]
        first, _ = largest(values, min(count, len(values)))
        exact = self._exact(weights, first if rows is None else rows[first], fetch)
        # The last of `count` exact values: what cannot reach it is not among the first.
        reached = max(float(exact.min(initial=np.inf)), least) if len(first) == count else least
        others = possible(values, left, coded.errors, reached)
        others = others[~members(others, first)]
        numbers = np.concatenate([first, others])
        numbers = numbers if rows is None else rows[numbers]
        exact = np.concatenate([exact, self._exact(weights, numbers[len(first) :], fetch)])
        nearest = nearest_first(self.ids[numbers], exact, count, least)
        return Found(*nearest, passed=0, candidates=len(numbers))

    def _exact(self, weights: Doubles, rows: Integers, fetch: Fetch) -> Doubles:
        """Compute w.x / |x| of rows in double precision, some at a time."""
        ids = self.ids[rows]
        parts = [cosines(fetch(ids[at : at + FETCHED]), weights) for at in range(0, len(ids), FETCHED)]
        return np.concatenate(parts) if parts else np.zeros(0)


def members(rising: Integers, ids: Integers) -> Mask:
    """Return which of rising numbers are among others, bool [N]: quick for a few."""
    mask = np.zeros(len(rising), np.bool_)
    at = np.searchsorted(rising, ids)
    ids, at = ids[at < len(rising)], at[at < len(rising)]
    mask[at[rising[at] == ids]] = True
    return mask


def _longer(column: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a copy with room for more."""
    longer = np.empty(size, column.dtype)
    longer[: len(column)] = column
    return longer
