"""Rows of a gallery as records of Milvus, and back."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import DataError
from reidkit.gallery.filters import MILVUS_UNKNOWN, is_large
from reidkit.gallery.row import Row, from_micros, made_of, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

COLUMNS = ("key", "id", "pid", "camera", "track", "time", "image", "attributes", "added")
"""The fields of a row, without its feature, its thumbnail and its digest."""

LONGEST_IN_BYTES = {"key": 2048, "camera": 4096, "track": 4096, "image": 16_384, "digest": 64}
"""Milvus counts bytes, and a character has up to four."""

LONGEST_THUMBNAIL = 65_535
"""Characters that a field of Milvus holds, at most."""

SHORTEST, LONGEST = 1e-15, 1e15
"""Lengths of features that can be squared in single precision, as Milvus does."""


def to_record(
    row: Row, vector: NDArray[np.float32], thumbnail: bytes | None, digest: bytes, *, number: int, added: int
) -> dict[str, Any]:
    """Return the record of a row: what is not known is "" or, of pids and times, `MILVUS_UNKNOWN`."""
    return {
        "key": row.key,
        "id": number,
        "pid": MILVUS_UNKNOWN if row.pid is None else row.pid,
        "camera": row.camera or "",
        "track": row.track or "",
        "time": MILVUS_UNKNOWN if row.time is None else to_micros(row.time),
        "image": row.image or "",
        "attributes": dict(row.attributes),
        "large": {name: str(int(value)) for name, value in row.attributes.items() if is_large(value)},
        "digest": digest.hex(),
        "added": added,
        "thumbnail": base64.b64encode(thumbnail).decode() if thumbnail is not None else "",
        "vector": vector,
    }


def to_row(record: dict[str, Any]) -> Row:
    """Return the row of a record."""
    values = {
        "key": record["key"],
        "pid": None if record["pid"] == MILVUS_UNKNOWN else record["pid"],
        "camera": record["camera"] or None,
        "track": record["track"] or None,
        "time": None if record["time"] == MILVUS_UNKNOWN else from_micros(record["time"]),
        "image": record["image"] or None,
        "attributes": record["attributes"] or {},
        "id": record["id"],
        "added": from_micros(record["added"]),
    }
    return made_of(Row, values)


def to_vector(record: dict[str, Any]) -> NDArray[np.float32]:
    """Return the feature of a record, float32 [D]."""
    return np.asarray(record["vector"], np.float32)


def check_thumbnails(thumbnails: Iterable[bytes | None]) -> None:
    """Refuse thumbnails that do not fit into a field.

    Raises:
        DataError: one is too large.
    """
    for picture in thumbnails:
        if picture is not None and 4 * -(-len(picture) // 3) > LONGEST_THUMBNAIL:
            raise DataError(
                f"a thumbnail of {len(picture)} bytes: Milvus holds up to {LONGEST_THUMBNAIL * 3 // 4}; make it smaller"
            )


def check_lengths(vectors: NDArray[np.float32], rows: Sequence[Row]) -> None:
    """Refuse features whose cosines single precision cannot tell.

    Raises:
        DataError: one is zero, nearly zero or nearly infinite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero((lengths < SHORTEST) | (lengths > LONGEST))
    if len(bad):
        raise DataError(
            f"the feature of {rows[bad[0]].key} has the length {lengths[bad[0]]:.3g}, which Milvus cannot compare: "
            "scale features to about one, and leave out those of zeros"
        )
