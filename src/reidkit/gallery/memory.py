"""A gallery in memory, searched by brute force in double precision: what every other gallery is compared with."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.base_gallery import PAGE, BaseGallery, calibration_of, refuse_other_count
from reidkit.gallery.conflicts import conflict, digest_of, is_same
from reidkit.gallery.filters import EVERYTHING, check_filter
from reidkit.gallery.kernels import cosines
from reidkit.gallery.person_ids import with_proposed
from reidkit.gallery.positions import page_of, position_of, read_cursor, read_position
from reidkit.gallery.protocol import Added, CameraInfo, Changes, Check, Contents, Info, Page
from reidkit.gallery.query_search import Found, nearest_first, no_such_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder
    from reidkit.gallery.conflicts import Addition
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.protocol import OnConflict, Status
    from reidkit.gallery.row import Row
    from reidkit.metrics.calibration_file import Calibration


class _Entry(NamedTuple):
    row: Row
    vector: NDArray[np.float32]
    thumbnail: bytes | None


class MemoryGallery(BaseGallery):
    """Rows in a dictionary; every search compares with all of them. It ends with the program."""

    kind: ClassVar[str] = "memory"

    def __init__(self, model: Encoder) -> None:
        self._encoder = model
        self.model, self.dim = model.fingerprint, model.dim
        self.calibration: Calibration | None = calibration_of(model)
        self.flip = bool(self.calibration and self.calibration.flip)
        self._entries: dict[int, _Entry] = {}  # by id, rising
        self._ids: dict[str, int] = {}
        self._gone: list[int] = []
        self._last = 0
        self._lock = threading.RLock()
        self._uuid, self._created = str(uuid.uuid4()), datetime.now(UTC)

    def close(self) -> None:
        """Do nothing: it is there for the program's other users."""

    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""
        check_filter(matching)
        with self._lock:
            return len(self._entries) if not matching else sum(1 for _ in self._matching(matching))

    def rows(self, matching: Filter = EVERYTHING, *, limit: int = PAGE, cursor: str = "") -> Page:
        """Return the rows that meet a filter: see `Gallery.rows`."""
        check_filter(matching)
        after = read_cursor(cursor, limit)
        with self._lock:
            found = list(islice(self._matching(matching, after), limit + 1))
        return page_of(found, limit)

    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""
        with self._lock:
            return [entry.row.key for entry in self._entries.values()]

    def thumbnail(self, key: str) -> bytes | None:
        """Return the JPEG that was added with a row; None where there is none."""
        with self._lock:
            return self._entries[self._ids[key]].thumbnail if key in self._ids else None

    def info(self) -> Info:
        """Return what the gallery is."""
        with self._lock:
            rows = [entry.row for entry in self._entries.values()]
        cameras = tuple(
            _camera_info(name, [row for row in rows if row.camera == name])
            for name in sorted({row.camera for row in rows}, key=lambda name: (name is None, name or ""))
        )
        return self._info("memory", self._uuid, cameras, self._created, memory=4 * self.dim * len(rows))

    def contents(self, rows: Sequence[Row], *, thumbnails: bool = False) -> Contents:
        """Return rows with their features: see `Gallery.contents`."""
        with self._lock:
            found = [self._entries[row.id] for row in rows if row.id in self._entries]
        vectors = np.array([entry.vector for entry in found], np.float32).reshape(-1, self.dim)
        pictures = [entry.thumbnail if thumbnails else None for entry in found]
        return Contents([entry.row for entry in found], vectors, pictures)

    def digests(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what names the contents of rows by key: see `Gallery.digests`."""
        with self._lock:
            found = [self._entries[self._ids[key]] for key in keys if key in self._ids]
        return {entry.row.key: digest_of(entry.row, entry.vector.astype("<f4").tobytes()) for entry in found}

    def check(self) -> Check:
        """Find nothing, as there is no file that can be damaged."""
        return Check(len(self))

    def compact(self) -> None:
        """Do nothing: what was removed is gone."""

    def changes(self, position: str = "") -> Changes:
        """Return what has changed since a position: see `Gallery.changes`."""
        seen, gone = read_position(position, self._uuid)
        with self._lock:
            added = tuple(entry.row for entry in self._entries.values() if entry.row.id > seen)
            now = position_of(self._uuid, self._last, len(self._gone))
            return Changes(added, tuple(row for row in self._gone[gone:] if row <= seen), now)

    def _matching(self, matching: Filter, after: int = 0) -> Iterable[Row]:
        """Return the rows that meet a filter, of ids above one; those of keys are looked up."""
        ids: Iterable[int] = self._entries
        if matching.keys is not None:
            ids = sorted({self._ids[key] for key in matching.keys if key in self._ids})
            matching = replace(matching, keys=None)
        rows = (self._entries[number].row for number in ids if number > after)
        return filter(matching.matches, rows) if matching else rows

    def _write(self, given: Addition) -> Added:
        with self._lock:
            given = given.settled(lambda: with_proposed(self.person_names(), self))
            before = (dict(self._entries), dict(self._ids), list(self._gone), self._last)
            try:
                status = [
                    self._put(_Entry(row, vector, picture), given.how)
                    for vector, row, picture in zip(given.vectors.copy(), given.rows, given.thumbnails, strict=True)
                ]
            except DataError:
                self._entries, self._ids, self._gone, self._last = before
                raise
        return Added(tuple(row.key for row in given.rows), tuple(status))

    def _put(self, new: _Entry, how: OnConflict) -> Status:
        """Add one row, or replace the one with its key."""
        old = self._entries.get(self._ids.get(new.row.key, 0))
        if old and is_same(old.row, old.vector, new.row, new.vector, exactly=how == "replace"):
            return "unchanged"
        if old and how != "replace":
            if how == "skip":
                return "conflict"
            raise conflict(new.row.key)
        if old:
            self._drop(old.row.id)
        self._last += 1
        self._ids[new.row.key] = self._last
        self._entries[self._last] = new._replace(row=replace(new.row, id=self._last, added=datetime.now(UTC)))
        return "replaced" if old else "added"

    def _remove(self, matching: Filter, expect: int | None) -> int:
        with self._lock:
            gone = [row.id for row in self._matching(matching)]
            refuse_other_count(len(gone), expect)
            for number in gone:
                self._drop(number)
        return len(gone)

    def _drop(self, number: int) -> None:
        del self._ids[self._entries.pop(number).row.key]
        self._gone.append(number)

    @contextmanager
    def _view(self) -> Iterator[_MemoryView]:
        with self._lock:
            yield _MemoryView(self._entries, self._ids, self.dim)


class _MemoryView:
    """A gallery that nobody changes meanwhile."""

    def __init__(self, entries: dict[int, _Entry], ids: dict[str, int], dim: int) -> None:
        self._entries, self._ids, self._dim = entries, ids, dim
        self.size = len(entries)

    def nearest(self, weights: NDArray[np.float64], matching: Filter, count: int, least: float) -> list[Found]:
        """Compare with every row, in double precision."""
        ids = np.array([number for number, entry in self._entries.items() if matching.matches(entry.row)], np.int64)
        vectors = self.vectors(ids)
        found = []
        for one in weights:
            nearest = nearest_first(ids, cosines(vectors, one), count, least)
            found.append(Found(*nearest, passed=len(ids), candidates=len(ids)))
        return found

    def group_sizes(self, matching: Filter, by: str) -> Counter[str | int | None]:
        rows = (entry.row for entry in self._entries.values() if matching.matches(entry.row))
        return Counter({"camera": row.camera, "track": row.track}.get(by, row.pid) for row in rows)

    def rows(self, ids: NDArray[np.int64]) -> list[Row]:
        return [self._entries[number].row for number in ids.tolist()]

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.zeros((len(ids), self._dim), np.float32)
        for at, number in enumerate(ids.tolist()):
            found[at] = self._entries[number].vector
        return found

    def ids(self, keys: Sequence[str]) -> NDArray[np.int64]:
        for key in keys:
            if key not in self._ids:
                raise no_such_key(key)
        return np.array([self._ids[key] for key in keys], np.int64)


def _camera_info(name: str | None, rows: Sequence[Row]) -> CameraInfo:
    times = [row.time for row in rows if row.time]
    return CameraInfo(name=name, rows=len(rows), first=min(times, default=None), last=max(times, default=None))
