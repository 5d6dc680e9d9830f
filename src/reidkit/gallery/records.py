"""Rows of a gallery in the tables of its file: written, removed, read back."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.database import now_micros
from reidkit.gallery.filters import UNKNOWN
from reidkit.gallery.memory import conflict, is_same
from reidkit.gallery.row import Row, from_micros, made_of, to_micros
from reidkit.gallery.vector_index import NewRows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from reidkit.gallery.protocol import OnConflict, Status

LOADED = 1024
"""Rows that are read into the index at a time."""

KEPT_DAYS = 7
"""For so long a reader that has not looked can still learn what was removed."""

COLUMNS = "rows.id, key, pid, name, track, time, image, attributes, added"
FROM = "rows LEFT JOIN cameras ON cameras.id = rows.camera"


class NewRow(NamedTuple):
    """A row that is to be written."""

    row: Row
    vector: bytes
    thumbnail: bytes | None
    digest: bytes


def rows_to_write(
    vectors: NDArray[np.float32], rows: Sequence[Row], thumbnails: Sequence[bytes | None]
) -> list[NewRow]:
    """Return what is to be written of features [N, D], their rows and their thumbnails."""
    blobs = (vector.astype("<f4", copy=False).tobytes() for vector in vectors)
    return [
        NewRow(row, blob, picture, digest_of(row, blob))
        for row, blob, picture in zip(rows, blobs, thumbnails, strict=True)
    ]


def status_of(
    new: NewRow,
    known: Mapping[str, tuple[int, bytes]],
    fresh: dict[str, NewRow],
    how: OnConflict,
    read: Callable[[str], tuple[Row, NDArray[np.float32]]],
) -> Status:
    """Say what becomes of a row, and note it in `fresh` where it is to be written.

    `known` has the id and the digest of keys that are there, `read` gives what is there.

    Raises:
        DataError: with `how="raise"`, its key is there with other contents.
    """
    key = new.row.key
    before = fresh.get(key)
    old = before.digest if before else known[key][1] if key in known else None
    if old == new.digest:
        return "unchanged"
    if old and how != "replace":
        row, vector = (before.row, np.frombuffer(before.vector, "<f4")) if before else read(key)
        if is_same(row, vector, new.row, np.frombuffer(new.vector, "<f4"), exactly=False):
            return "unchanged"
        if how == "skip":
            return "conflict"
        raise conflict(key)
    fresh[key] = new
    return "replaced" if old else "added"


def sequences(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the last id that was given, and the number of the last removal."""
    found = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    return found.get("rows", 0), found.get("removed", 0)


def has_gap(connection: sqlite3.Connection, seen: int, last: int) -> bool:
    """Return whether removals after the number `seen` are no longer in the log."""
    if last == seen:
        return False
    first = connection.execute("SELECT min(seq) FROM removed").fetchone()[0]
    return first is None or first > seen + 1


def new_rows(connection: sqlite3.Connection, seen: int, dim: int) -> Iterator[NewRows]:
    """Yield the rows with ids above `seen`, some at a time."""
    asked = (
        "SELECT rows.id, camera, pid, time, vector FROM rows JOIN vectors ON vectors.id = rows.id "
        "WHERE rows.id > ? ORDER BY rows.id"
    )
    cursor = connection.execute(asked, [seen])
    while records := cursor.fetchmany(LOADED):
        ids, cameras, pids, times, vectors = zip(*records, strict=True)
        yield NewRows(
            np.array(ids, np.int64),
            np.array([-1 if camera is None else camera for camera in cameras], np.int32),
            np.array([UNKNOWN if pid is None else pid for pid in pids], np.int64),
            np.array([UNKNOWN if micros is None else micros for micros in times], np.int64),
            stacked(vectors, dim),
        )


def stacked(vectors: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Return features of their bytes, [N, D]."""
    whole = b"".join(vectors)
    if len(whole) != 4 * dim * len(vectors):
        raise DataError(
            f"the gallery is damaged: features are not all of {dim} numbers; `reidkit gallery check` names them"
        )
    found: NDArray[np.float32] = np.frombuffer(whole, "<f4").reshape(len(vectors), dim)
    return found


def read_vectors(connection: sqlite3.Connection, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """Return features by ids, in their order."""
    asked = "SELECT id, vector FROM vectors WHERE id IN (SELECT value FROM json_each(?))"
    found: dict[int, bytes] = dict(connection.execute(asked, [_json(ids)]))
    return stacked([found[number] for number in ids.tolist()], dim)


def read_rows(connection: sqlite3.Connection, ids: NDArray[np.int64]) -> list[Row]:
    """Return rows by ids, in their order."""
    asked = f"SELECT {COLUMNS} FROM {FROM} WHERE rows.id IN (SELECT value FROM json_each(?))"  # noqa: S608
    found = {record[0]: make_row(record) for record in connection.execute(asked, [_json(ids)])}
    return [found[number] for number in ids.tolist()]


def known_digests(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return the id and the digest of those keys that are there."""
    asked = "SELECT key, id, digest FROM rows WHERE key IN (SELECT value FROM json_each(?))"
    found = connection.execute(asked, [json.dumps(list(keys))])
    return {key: (number, digest) for key, number, digest in found}


def _json(ids: NDArray[np.int64]) -> str:
    return json.dumps(ids.tolist())


def delete_rows(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Remove rows, and what is known of earlier removals for so long that nobody asks."""
    if ids:
        connection.execute("DELETE FROM rows WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))])
        connection.execute("DELETE FROM removed WHERE time < unixepoch() - ?", [KEPT_DAYS * 86_400])


def insert_rows(connection: sqlite3.Connection, new: Sequence[NewRow]) -> None:
    """Add rows under the next ids, in their order."""
    first = sequences(connection)[0] + 1
    names = list(dict.fromkeys(each.row.camera for each in new if each.row.camera is not None))
    connection.executemany("INSERT OR IGNORE INTO cameras(name) VALUES(?)", [[name] for name in names])
    cameras = dict(connection.execute("SELECT name, id FROM cameras"))
    added = now_micros()
    connection.executemany(
        "INSERT INTO rows(id, key, pid, camera, track, time, image, attributes, digest, added) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                first + at,
                each.row.key,
                each.row.pid,
                cameras.get(each.row.camera),
                each.row.track,
                None if each.row.time is None else to_micros(each.row.time),
                each.row.image,
                _attributes_text(each.row),
                each.digest,
                added,
            )
            for at, each in enumerate(new)
        ),
    )
    vectors = ((first + at, each.vector) for at, each in enumerate(new))
    connection.executemany("INSERT INTO vectors(id, vector) VALUES(?, ?)", vectors)
    pictures = [(first + at, each.thumbnail) for at, each in enumerate(new) if each.thumbnail is not None]
    connection.executemany("INSERT INTO thumbnails(id, jpeg) VALUES(?, ?)", pictures)


def make_row(record: Sequence[Any]) -> Row:
    """Return the row of a record of `COLUMNS`."""
    number, key, pid, camera, track, micros, image, attributes, added = record
    values = {
        "key": key,
        "pid": pid,
        "camera": camera,
        "track": track,
        "time": time_of(micros),
        "image": image,
        "attributes": json.loads(attributes) if attributes else {},
        "id": number,
        "added": time_of(added),
    }
    return made_of(Row, values)


def time_of(micros: int | None) -> datetime | None:
    """Return the time of microseconds since 1970."""
    return None if micros is None else from_micros(micros)


def _attributes_text(row: Row) -> str | None:
    # As they are written: what is looked up by SQLite is compared letter by letter.
    return json.dumps(dict(row.attributes), ensure_ascii=False, sort_keys=True) if row.attributes else None


def digest_of(row: Row, vector: bytes) -> bytes:
    """Return what names the contents of a row: its feature and all columns that were given."""
    micros = None if row.time is None else to_micros(row.time)
    columns = [row.key, row.pid, row.camera, row.track, micros, row.image, _attributes_text(row)]
    return hashlib.sha256(vector + json.dumps(columns).encode()).digest()
