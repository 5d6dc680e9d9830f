"""What a search reads of a gallery in a file: its index in memory, and the rows and features behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.gallery.filters import UNKNOWN
from reidkit.gallery.records import ids_of, known_digests, read_rows, read_vectors
from reidkit.gallery.vector_index import members

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.filters import Filter
    from reidkit.gallery.query_search import Found
    from reidkit.gallery.row import Row
    from reidkit.gallery.vector_index import Snapshot


class LocalView:
    """A gallery as it is for one connection in a transaction."""

    def __init__(self, connection: sqlite3.Connection, snapshot: Snapshot, dim: int) -> None:
        self._connection, self._snapshot, self._dim = connection, snapshot, dim
        self._last: tuple[Filter, NDArray[np.bool_]] | None = None

    @property
    def size(self) -> int:
        """The number of rows."""
        return self._snapshot.size

    def nearest(self, weights: NDArray[np.float64], matching: Filter, count: int, least: float) -> list[Found]:
        """Return the `count` nearest of the rows that match, at least as similar as `least`."""
        return self._snapshot.nearest(weights, self._passed(matching), (count, least), self.vectors)

    def group_sizes(self, matching: Filter, by: str) -> dict[str | int | None, int]:
        """Return how many rows that match each person, camera or track has, None those of none."""
        if by == "track":
            where, values = matching.sql()
            counted = f"SELECT track, count(*) FROM rows WHERE {where} GROUP BY track"  # noqa: S608
            return dict(self._connection.execute(counted, values).fetchall())
        camera_of: dict[int, str] = {number: name for name, number in self._snapshot.names.items()}
        column = self._snapshot.cameras if by == "camera" else self._snapshot.pids
        numbers, counts = np.unique(column[self._passed(matching)], return_counts=True)
        groups: list[str | int | None] = [
            camera_of.get(number) if by == "camera" else None if number == UNKNOWN else number
            for number in numbers.tolist()
        ]
        return dict(zip(groups, counts.tolist(), strict=True))

    def _passed(self, matching: Filter) -> NDArray[np.bool_]:
        """Return which rows of the snapshot match; a search may ask for the same several times."""
        if self._last is None or self._last[0] != matching:
            self._last = (matching, self._matching(matching))
        return self._last[1]

    def _matching(self, matching: Filter) -> NDArray[np.bool_]:
        passed = self._snapshot.passed(replace(matching, not_keys=()))
        if passed is None:
            where, values = matching.sql()
            ids = self._connection.execute(f"SELECT id FROM rows WHERE {where} ORDER BY id", values)  # noqa: S608
            return self._snapshot.among(np.fromiter((number for (number,) in ids), np.int64))
        if matching.not_keys:  # a few, which are looked up
            gone = [number for number, _ in known_digests(self._connection, tuple(matching.not_keys)).values()]
            passed = passed & ~members(self._snapshot.ids, np.array(gone, np.int64))
        return passed

    def rows(self, ids: NDArray[np.int64]) -> list[Row]:
        """Return the rows with these ids."""
        return read_rows(self._connection, ids)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features of these ids, float32 [N, D]."""
        return read_vectors(self._connection, ids, self._dim)

    def ids(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of keys.

        Raises:
            DataError: there is no such key.
        """
        return ids_of(self._connection, keys)
