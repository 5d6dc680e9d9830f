"""What a search reads of a gallery in Milvus: what the server finds, compared again in double precision.

Milvus compares in single precision, in an order of its own, so that of rows that are nearly equal it may cut off the
wrong ones. More are asked for than are needed, until the last of them is certainly less similar than the last that
counts. With the index `flat` nothing can be missed then, which `Found.exact` says.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.gallery.filters import MILVUS_UNKNOWN
from reidkit.gallery.kernels import cosines
from reidkit.gallery.milvus_records import COLUMNS, to_row, to_vector
from reidkit.gallery.milvus_store import MOST, rows_at_once
from reidkit.gallery.query_search import Found, nearest_first, no_such_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.filters import Filter
    from reidkit.gallery.milvus_store import Store
    from reidkit.gallery.row import Row

FIELDS = (*COLUMNS, "vector")

SINGLE = 1e-4
"""By how much a cosine in single precision may be off: ten times what the sum of 4,096 products is."""

MORE = 16
"""So many rows are asked for beyond those that are needed."""

SCANNED = 4096
"""Of so few rows that pass a filter, an approximate index is not asked: all are compared."""

EFFORT = 256
"""Rows that an approximate index looks at, at least."""

COUNTED, LONG = 65_536, 1000
"""The groups of more rows than this are not counted before so many rows were read without finding enough of them."""


class MilvusView:
    """A gallery in Milvus for one search. What the search reads of a row stays with it."""

    def __init__(self, store: Store, dim: int) -> None:
        self._store, self._dim, self._level = store, dim, store.address.consistency
        self._size: int | None = None
        self._sizes: dict[tuple[str, str], dict[str | int | None, int]] = {}  # of groups, by field and filter
        self._waited = False
        self._rows: dict[int, Row] = {}
        self._by_key: dict[str, Row] = {}
        self._vectors: dict[int, NDArray[np.float32]] = {}

    def _next_level(self) -> str:
        """Return at which level to ask: only the first question waits until the server has seen what it must see."""
        level, self._waited = "any" if self._waited else self._level, True
        return level

    @property
    def size(self) -> int:
        """The number of rows."""
        if self._size is None:
            self._size = self._store.count("", "any")
        return self._size

    def nearest(self, weights: NDArray[np.float64], matching: Filter, count: int, least: float) -> list[Found]:
        """Return the `count` nearest of the rows that match, at least as similar as `least`."""
        expression = matching.milvus()
        approximate = self._store.index != "flat"
        passed = self._store.count(expression, self._next_level()) if approximate and matching else None
        if count + MORE > MOST or (passed is not None and passed <= SCANNED):
            return self._scanned(weights, expression, count, least)
        found = self._asked(weights, matching, count, least, passed)
        if found is None:  # too many are equal
            return self._scanned(weights, expression, count, least)
        if passed is None:  # after the search: by now the server has seen all that the search has
            passed = self._store.count(expression, "any") if matching else self.size
        return [Found(ids, sims, max(passed, len(ids)), work, not approximate) for ids, sims, work in found]

    def group_sizes(self, matching: Filter, by: str) -> Mapping[str | int | None, int] | None:
        """Return how many rows that match each group has, for which one field of all of them is read.

        Where they are many, this is worth it only when a longer and longer list has shown too few groups.
        """
        field, expression = {"person": "pid"}.get(by, by), matching.milvus()
        if (field, expression) not in self._sizes:
            if len(self._rows) < LONG and self._store.count(expression, "any") > COUNTED:
                return None
            pages = self._store.pages(expression, (field,), level="any")
            values = Counter(record[field] for page in pages for record in page)
            unknown = MILVUS_UNKNOWN if field == "pid" else ""
            self._sizes[field, expression] = {
                None if value == unknown else value: size for value, size in values.items()
            }
        return self._sizes[field, expression]

    def _asked(
        self, weights: NDArray[np.float64], matching: Filter, count: int, least: float, passed: int | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64], int]] | None:
        """Let the server find the nearest rows of each of `weights`; None where it cannot give enough."""
        lengths = np.linalg.norm(weights, axis=1)
        units = weights / np.where(lengths > 0, lengths, 1)[:, None]
        found: dict[int, tuple[NDArray[np.int64], NDArray[np.float64], int]] = {}
        limit, open_ = count + MORE, list(range(len(weights)))
        while open_:
            effort, level = self._effort(limit, passed), self._next_level()
            near = self._store.nearest(units[open_], matching.milvus(), limit, effort=effort, level=level)
            self._read({hit.key for hits in near for hit in hits})
            again = []
            for number, hits in zip(open_, near, strict=True):
                ids, sims = self._compared([hit.key for hit in hits], weights[number], matching)
                last = max(sims[count - 1] if len(sims) >= count else -np.inf, least)
                if len(hits) == limit and hits[-1].similarity * lengths[number] + SINGLE > last:
                    again.append(number)
                    continue
                kept = np.flatnonzero(sims >= least)[:count]
                found[number] = (ids[kept], sims[kept], len(sims))
            open_, limit = again, 4 * limit
            if open_ and limit > MOST:
                return None
        return [found[number] for number in range(len(weights))]

    def _effort(self, limit: int, passed: int | None) -> int:
        """Return at how many rows an approximate index is to look: the more, the fewer pass the filter."""
        part = 1.0 if passed is None else max(passed, 1) / max(self.size, 1)
        return int(min(max(EFFORT, 4 * limit) / part, 32_768))

    def _compared(
        self, keys: Sequence[str], weight: NDArray[np.float64], matching: Filter
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return ids and similarities of rows, sorted; those that were removed or changed meanwhile are left out."""
        rows = [row for row in (self._by_key.get(key) for key in keys) if row and matching.matches(row)]
        ids = np.array([row.id for row in rows], np.int64)
        sims = cosines(self.vectors(ids), weight)
        order = np.lexsort((ids, -sims))
        return ids[order], sims[order]

    def _scanned(self, weights: NDArray[np.float64], expression: str, count: int, least: float) -> list[Found]:
        """Compare with every row that matches."""
        parts: list[tuple[list[Row], NDArray[np.float64]]] = []
        for page in self._store.pages(expression, FIELDS, size=rows_at_once(self._dim)):
            vectors = np.stack([to_vector(record) for record in page])
            rows = [to_row(record) for record in page]
            parts.append((rows, np.stack([cosines(vectors, weight) for weight in weights])))
        rows = [row for some, _ in parts for row in some]
        self._note(rows, ())
        ids = np.array([row.id for row in rows], np.int64)
        sims = np.concatenate([each for _, each in parts], axis=1) if parts else np.zeros((len(weights), 0))
        nearest = (nearest_first(ids, one, count, least) for one in sims)
        return [Found(*each, passed=len(ids), candidates=len(ids)) for each in nearest]

    # Rows that were read.

    def rows(self, ids: NDArray[np.int64]) -> list[Row]:
        """Return rows that were found, by their ids."""
        return [self._rows[number] for number in ids.tolist()]

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of rows that were found, float32 [N, D]."""
        wanted = ids.tolist()
        self._read({self._rows[number].key for number in wanted if number not in self._vectors})
        found = np.zeros((len(wanted), self._dim), np.float32)
        for at, number in enumerate(wanted):
            found[at] = self._vectors[number]
        return found

    def ids(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of keys.

        Raises:
            DataError: there is no such key.
        """
        self._read(keys, self._level)
        for key in keys:
            if key not in self._by_key:
                raise no_such_key(key)
        return np.array([self._by_key[key].id for key in keys], np.int64)

    def _read(self, keys: Iterable[str], level: str = "any") -> None:
        """Read rows with their features; those that are gone stay unread."""
        known = self._by_key
        wanted = [key for key in keys if key not in known or known[key].id not in self._vectors]
        found = self._store.by_key(wanted, FIELDS, size=rows_at_once(self._dim), level=level)
        self._note([to_row(record) for record in found.values()], [to_vector(record) for record in found.values()])

    def _note(self, rows: Sequence[Row], vectors: Sequence[NDArray[Any]]) -> None:
        self._rows.update({row.id: row for row in rows})
        self._by_key.update({row.key: row for row in rows})
        self._vectors.update({row.id: vector for row, vector in zip(rows, vectors, strict=False)})
