"""Rows of a gallery in the tables of its file: written, removed, read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.conflicts import attributes_text
from reidkit.gallery.filters import UNKNOWN
from reidkit.gallery.person_ids import PERSON
from reidkit.gallery.positions import KEPT_DAYS
from reidkit.gallery.query_search import no_such_key
from reidkit.gallery.row import Row, made_of, now_micros, time_of, to_micros
from reidkit.gallery.vector_index import NewRows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.conflicts import NewRow

LOADED = 1024
"""Rows that are read into the index at a time."""

COLUMNS = "rows.id, key, pid, name, track, time, image, attributes, added"
FROM = "rows LEFT JOIN cameras ON cameras.id = rows.camera"


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


def read_names(connection: sqlite3.Connection) -> dict[int, str | None]:
    """Return the name that the first row of each id has; None where that is no text."""
    # Of the columns beside min(id), SQLite returns those of the row that has it.
    asked = (
        f"SELECT min(id), pid, json_extract(attributes, '$.{PERSON}') FROM rows WHERE pid IS NOT NULL GROUP BY pid "  # noqa: S608
        "ORDER BY 1"
    )
    return {pid: name if isinstance(name, str) else None for _, pid, name in connection.execute(asked)}


def read_proposed(connection: sqlite3.Connection) -> dict[int, None]:
    """Return the numbers of people whom joining proposes."""
    person = f"json_extract(attributes, '$.{PERSON}')"
    asked = f"SELECT DISTINCT {person} FROM rows WHERE json_type(attributes, '$.{PERSON}') = 'integer'"  # noqa: S608
    return {number: None for (number,) in connection.execute(asked)}


def known_digests(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return the id and the digest of those keys that are there."""
    asked = "SELECT key, id, digest FROM rows WHERE key IN (SELECT value FROM json_each(?))"
    found = connection.execute(asked, [json.dumps(list(keys))])
    return {key: (number, digest) for key, number, digest in found}


def ids_of(connection: sqlite3.Connection, keys: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of keys.

    Raises:
        DataError: there is no such key.
    """
    found = known_digests(connection, keys)
    for key in keys:
        if key not in found:
            raise no_such_key(key)
    return np.array([found[key][0] for key in keys], np.int64)


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
                attributes_text(each.row),
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
