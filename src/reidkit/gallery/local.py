"""A gallery in one SQLite file: what is acknowledged is on the disk, and a search is exact."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from reidkit.errors import DataError, GalleryError
from reidkit.gallery.base_gallery import PAGE, BaseGallery, refuse_other_count
from reidkit.gallery.conflicts import NewRow, digest_of, rows_to_write, status_of
from reidkit.gallery.database import Database, create, read_meta
from reidkit.gallery.filters import EVERYTHING, check_filter
from reidkit.gallery.local_view import LocalView
from reidkit.gallery.meta import new_meta, parse_meta
from reidkit.gallery.person_ids import first_names, with_proposed
from reidkit.gallery.positions import page_of, position_of, read_cursor, read_position, too_old
from reidkit.gallery.protocol import Added, CameraInfo, Changes, Check, Contents, Info, Page
from reidkit.gallery.records import (
    COLUMNS,
    FROM,
    delete_rows,
    has_gap,
    ids_of,
    insert_rows,
    known_digests,
    make_row,
    new_rows,
    read_names,
    read_proposed,
    read_rows,
    read_vectors,
    sequences,
)
from reidkit.gallery.row import from_micros, now_micros, time_of
from reidkit.gallery.vector_index import Index
from reidkit.metrics.calibration_file import calibration_text

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.encoder import Encoder
    from reidkit.gallery.conflicts import Addition
    from reidkit.gallery.filters import Filter
    from reidkit.gallery.row import Row

_log = logging.getLogger(__name__)

ERASING = 5.0
"""Seconds that a removal waits for readers, until what it removed is overwritten everywhere."""


class LocalGallery(BaseGallery):
    """A gallery in a file. Several processes may read it while one writes; all see each other's commits."""

    kind: ClassVar[str] = "local"

    def __init__(self, path: str | os.PathLike[str], model: Encoder | None = None) -> None:
        """Open the gallery of a file.

        Args:
            path: The file.
            model: What embeds images; None: only features can be added and searched for.

        Raises:
            DataError: no gallery, a damaged one, one of a newer version, or the gallery of another model.
        """
        self._encoder = model
        self._database = Database(Path(path))
        self._lock = threading.Lock()  # of the index and of what it has seen
        self._names: tuple[tuple[int, int], Mapping[int, str | None]] = ((0, 0), {})  # of ids, and when it was read
        try:
            with self._database.reading() as connection:
                self._meta = meta = parse_meta(read_meta(connection), str(path), model)
                self.model, self.dim, self.flip, self.calibration = meta.model, meta.dim, meta.flip, meta.calibration
        except BaseException:
            self._database.close()
            raise
        self._clear_index()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model: Encoder | None = None,
        *,
        fingerprint: str = "",
        dim: int = 0,
    ) -> Self:
        """Make the file of an empty gallery, and open it.

        Args:
            path: The file, which must not be there.
            model: What embeds images. Without one, `fingerprint` and `dim` say which features the gallery is for.
            fingerprint: The fingerprint of the model of these features; "": not known.
            dim: Their length.

        Raises:
            DataError: the file is there, or cannot be made.
            UsageError: no length of features.
        """
        create(Path(path), new_meta(model, fingerprint, dim, now_micros()))
        return cls(path, model)

    def close(self) -> None:
        """Close the file and let go of the index."""
        self._database.close()
        with self._lock:
            self._clear_index()

    # What is in it.

    def count(self, matching: Filter = EVERYTHING) -> int:
        """Return how many rows meet a filter."""
        check_filter(matching)
        where, values = matching.sql()
        with self._database.reading() as connection:
            return int(connection.execute(f"SELECT count(*) FROM rows WHERE {where}", values).fetchone()[0])  # noqa: S608

    def rows(self, matching: Filter = EVERYTHING, *, limit: int = PAGE, cursor: str = "") -> Page:
        """Return the rows that meet a filter: see `Gallery.rows`."""
        check_filter(matching)
        where, values = matching.sql()
        after = read_cursor(cursor, limit)
        asked = f"SELECT {COLUMNS} FROM {FROM} WHERE rows.id > ? AND {where} ORDER BY rows.id LIMIT ?"  # noqa: S608
        with self._database.reading() as connection:
            found = [make_row(record) for record in connection.execute(asked, [after, *values, limit + 1])]
        return page_of(found, limit)

    def keys(self) -> list[str]:
        """Return the keys of all rows, in the order of their ids."""
        with self._database.reading() as connection:
            return [key for (key,) in connection.execute("SELECT key FROM rows ORDER BY id")]

    def person_names(self) -> dict[int, str | None]:
        """Return the name of each id: see `Gallery.person_names`."""
        with self._database.reading() as connection:
            return read_names(connection)

    def thumbnail(self, key: str) -> bytes | None:
        """Return the JPEG that was added with a row; None where there is none."""
        asked = "SELECT jpeg FROM thumbnails JOIN rows USING(id) WHERE key = ?"
        with self._database.reading() as connection:
            found = connection.execute(asked, [key]).fetchone()
        return bytes(found[0]) if found else None

    def vectors(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """Return the features of rows, for which nothing is read into memory but they: see `Gallery.vectors`."""
        with self._database.reading() as connection:
            return read_vectors(connection, ids_of(connection, keys), self.dim)

    def contents(self, rows: Sequence[Row], *, thumbnails: bool = False) -> Contents:
        """Return rows with their features: see `Gallery.contents`."""
        numbers = json.dumps([row.id for row in rows])
        with self._database.reading() as connection:
            asked = "SELECT id FROM vectors WHERE id IN (SELECT value FROM json_each(?))"
            there = {number for (number,) in connection.execute(asked, [numbers])}
            kept = [row for row in rows if row.id in there]
            vectors = read_vectors(connection, np.array([row.id for row in kept], np.int64), self.dim)
            asked = "SELECT id, jpeg FROM thumbnails WHERE id IN (SELECT value FROM json_each(?))"
            pictures = dict(connection.execute(asked, [numbers])) if thumbnails else {}
        return Contents(kept, vectors, [pictures.get(row.id) for row in kept])

    def digests(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what names the contents of rows by key: see `Gallery.digests`."""
        with self._database.reading() as connection:
            return {key: digest for key, (_, digest) in known_digests(connection, keys).items()}

    def info(self) -> Info:
        """Return what the gallery is."""
        asked = (
            f"SELECT name, count(*), min(time), max(time) FROM {FROM} GROUP BY rows.camera ORDER BY name IS NULL, name"  # noqa: S608
        )
        with self._database.reading() as connection:
            cameras = tuple(
                CameraInfo(name=name, rows=count, first=time_of(first), last=time_of(last))
                for name, count, first, last in connection.execute(asked)
            )
        return self._info(
            str(self._database.path),
            self._meta.uuid,
            cameras,
            from_micros(self._meta.created),
            bytes=self._database.size(),
            memory=self._index.nbytes,
        )

    def changes(self, position: str = "") -> Changes:
        """Return what has changed since a position: see `Gallery.changes`."""
        seen, gone = read_position(position, self._meta.uuid)
        asked = f"SELECT {COLUMNS} FROM {FROM} WHERE rows.id > ? ORDER BY rows.id"  # noqa: S608
        with self._database.reading() as connection:
            last, removed = sequences(connection)
            if position and has_gap(connection, gone, removed):
                raise too_old()
            added = tuple(make_row(record) for record in connection.execute(asked, [seen]))
            log = connection.execute("SELECT id FROM removed WHERE seq > ? AND id <= ? ORDER BY seq", [gone, seen])
            return Changes(added, tuple(number for (number,) in log), position_of(self._meta.uuid, last, removed))

    def check(self) -> Check:
        """Read everything and compare it with what was written."""
        problems: list[str] = []
        seen = 0
        try:
            with self._database.reading() as connection:
                problems += [str(line) for (line,) in connection.execute("PRAGMA integrity_check(20)") if line != "ok"]
                problems += [f"row {each[1]} of {each[0]} belongs to nothing" for each in _orphans(connection)]
                for problem in self._wrong_rows(connection):
                    seen += 1
                    problems += [problem] if problem else []
        except DataError as error:
            problems.append(str(error))
        return Check(seen, tuple(problems))

    def _wrong_rows(self, connection: sqlite3.Connection) -> Iterator[str]:
        """Yield for each row what is wrong with it, or nothing."""
        asked = f"SELECT {COLUMNS}, digest, vector FROM {FROM} LEFT JOIN vectors ON vectors.id = rows.id"  # noqa: S608
        for *record, digest, vector in connection.execute(asked):
            key = record[1]
            if vector is None or len(vector) != 4 * self.dim:
                yield f"{key} has no feature of {self.dim} numbers"
            elif not np.isfinite(np.frombuffer(vector, "<f4")).all():
                yield f"the feature of {key} holds a NaN or an infinity"
            elif digest_of(make_row(record), vector) != digest:
                yield f"{key} is not what was written"
            else:
                yield ""

    # Changes.

    def _write(self, given: Addition) -> Added:
        with self._database.writing() as connection:
            names = self._names_now(connection) if given.settle else {}
            given = given.settled(lambda: names)
            new = rows_to_write(given)
            known = known_digests(connection, [each.row.key for each in new])
            fresh: dict[str, NewRow] = {}  # what is to be written, the last of each key
            status = [status_of(each, known, fresh, given.how, self._reader(connection, known)) for each in new]
            replaced = [known[key][0] for key in fresh if key in known]
            delete_rows(connection, replaced)
            insert_rows(connection, list(fresh.values()))
            self._note_calibration(connection)
            now = sequences(connection)
        if given.settle and not replaced:
            rows = [each.row for each in fresh.values()]
            self._names = (now, with_proposed(first_names(rows, names), rows))
        if replaced:
            self._erase()
        return Added(tuple(row.key for row in given.rows), tuple(status))

    def _names_now(self, connection: sqlite3.Connection) -> Mapping[int, str | None]:
        """Return the name of each id that is no longer free: as read before, where nobody has written since."""
        at, names = self._names
        return names if at == sequences(connection) else {**read_proposed(connection), **read_names(connection)}

    def _reader(
        self, connection: sqlite3.Connection, known: dict[str, tuple[int, bytes]]
    ) -> Callable[[str], tuple[Row, NDArray[np.float32]]]:
        """Return what reads a row with its feature by its key."""

        def read(key: str) -> tuple[Row, NDArray[np.float32]]:
            ids = np.array([known[key][0]])
            return read_rows(connection, ids)[0], read_vectors(connection, ids, self.dim)[0]

        return read

    def _remove(self, matching: Filter, expect: int | None) -> int:
        where, values = matching.sql()
        with self._database.writing() as connection:
            ids = [number for (number,) in connection.execute(f"SELECT id FROM rows WHERE {where}", values)]  # noqa: S608
            refuse_other_count(len(ids), expect)
            delete_rows(connection, ids)
        if ids:
            self._erase()
        return len(ids)

    def _erase(self) -> None:
        """Overwrite removed rows in what was written ahead, too; readers that are in the way end soon.

        The rows are gone by now: what is in the way is no failure of the removal, which cannot be made again.
        """
        until, why = time.monotonic() + ERASING, "a reader is in the way"
        try:
            while not self._database.erase():
                if time.monotonic() > until:
                    break
                time.sleep(0.02)
            else:
                return
        except GalleryError as error:
            why = str(error.__context__ or error)  # what SQLite says: its sentence asks to do it again
        _log.warning(
            "%s: rows are removed, but not yet overwritten (%s): the next removal does it, or whoever closes the "
            "gallery last",
            self._database.path,
            why,
        )

    def compact(self) -> None:
        """Give back to the disk what removed rows have left free in the file, which is written anew."""
        self._database.compact()
        self._erase()

    def _note_calibration(self, connection: sqlite3.Connection) -> None:
        """Keep the calibration of the model in the file, for those who open it without the model."""
        text = calibration_text(self.calibration)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'calibration' AND value != ?", [text, text])

    # Searches.

    def _clear_index(self) -> None:
        self._index = Index(self.dim)
        self._seen, self._seen_removed = 0, 0

    @contextmanager
    def _view(self) -> Iterator[LocalView]:
        with ExitStack() as stack:
            self._database.refuse_lost()  # in a fork, the lock may have stayed with a thread that is not there
            # The lock is held while the moment of the file is fixed, so that the index never is ahead of it.
            with self._lock:
                connection = stack.enter_context(self._database.reading())
                self._refresh(connection)
                snapshot = self._index.snapshot()
            yield LocalView(connection, snapshot, self.dim)

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Bring the index to what the connection sees."""
        last, removed = sequences(connection)
        if (last, removed) == (self._seen, self._seen_removed):
            return
        if has_gap(connection, self._seen_removed, removed):
            self._clear_index()
        if removed > self._seen_removed and self._seen:
            asked = "SELECT id FROM removed WHERE seq > ? AND id <= ?"
            gone = connection.execute(asked, [self._seen_removed, self._seen]).fetchall()
            self._index.remove(np.array([number for (number,) in gone], np.int64))
        self._index.names = dict(connection.execute("SELECT name, id FROM cameras"))
        try:
            for new in new_rows(connection, self._seen, self.dim):
                self._index.add(new)
        except BaseException:  # Ctrl-C, too: some of them are in it, and would be added again
            self._clear_index()
            raise
        self._seen, self._seen_removed = last, removed


def _orphans(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    for table, number, *_ in connection.execute("PRAGMA foreign_key_check"):
        yield table, number
