"""What becomes of a row that is added: whether its key is there already, and with the same contents."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.kernels import cosines
from reidkit.gallery.row import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.gallery.person_ids import Settle
    from reidkit.gallery.protocol import OnConflict, Status
    from reidkit.gallery.row import Row

SAME = 0.9995
"""Features of one image that was embedded twice, among other images, have this cosine at least."""


class Addition(NamedTuple):
    """Checked features float32 [N, D] that are to be added, with a row and perhaps a thumbnail for each.

    `how` says what becomes of a key that is there with other contents, `settle` which ids the rows get: see
    `Gallery.add_vectors`.
    """

    vectors: NDArray[np.float32]
    rows: Sequence[Row]
    thumbnails: Sequence[bytes | None]
    how: OnConflict
    settle: Settle | None

    def settled(self, names: Callable[[], Mapping[int, str | None]]) -> Addition:
        """Return it with the ids that its rows get where ids have these `names`, which are asked for if needed."""
        return self._replace(rows=self.settle(self.rows, names())) if self.settle else self


class NewRow(NamedTuple):
    """A row that is to be written."""

    row: Row
    vector: bytes
    thumbnail: bytes | None
    digest: bytes


def rows_to_write(given: Addition) -> list[NewRow]:
    """Return what is to be written of what is to be added."""
    blobs = (vector.astype("<f4", copy=False).tobytes() for vector in given.vectors)
    return [
        NewRow(row, blob, picture, digest_of(row, blob))
        for row, blob, picture in zip(given.rows, blobs, given.thumbnails, strict=True)
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


def is_same(
    old: Row, old_vector: NDArray[np.float32], new: Row, new_vector: NDArray[np.float32], *, exactly: bool
) -> bool:
    """Return whether a row is in the gallery already.

    An image that is embedded again among other images gives a feature that differs by rounding: unless rows are to be
    replaced, such features are equal.
    """
    if replace(new, id=old.id, added=old.added) != old:
        return False
    if np.array_equal(old_vector, new_vector):
        return True
    doubles = new_vector.astype(np.float64)
    return not exactly and bool(cosines(old_vector[None], doubles)[0] >= SAME * float(np.linalg.norm(doubles)))


def conflict(key: str) -> DataError:
    """Return the error that a key is there with other contents."""
    return DataError(
        f"{key} is in the gallery already, with another image or other columns: remove it first, pass another key or "
        "on_conflict='replace'",
        argument="on_conflict",
    )


def digest_of(row: Row, vector: bytes) -> bytes:
    """Return what names the contents of a row: its feature and all columns that were given."""
    micros = None if row.time is None else to_micros(row.time)
    columns = [row.key, row.pid, row.camera, row.track, micros, row.image, attributes_text(row)]
    return hashlib.sha256(vector + json.dumps(columns).encode()).digest()


def attributes_text(row: Row) -> str | None:
    """Return the attributes of a row as JSON; None where it has none."""
    # As they are written: what is looked up by SQLite is compared letter by letter.
    return json.dumps(dict(row.attributes), ensure_ascii=False, sort_keys=True) if row.attributes else None
