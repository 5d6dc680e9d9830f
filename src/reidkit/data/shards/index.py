"""The columns of a set of shards: gathered once, then read from a file beside the shards or from the cache."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.data.cache_dir import default_cache_dir
from reidkit.data.decode import MAX_BYTES
from reidkit.data.shards.samples import ROW, SPLITS
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.shards.place import Place

INDEX = "reidkit-index.npz"
"""The file that `reidkit shard` lays beside the shards, so that nobody reads them all to find out what is in them."""

_FORMAT = 1


class Index(NamedTuple):
    """Images `rows` [N] of dtype `ROW`, and their names, one after the other."""

    rows: NDArray[np.void]
    names: bytes


def indexed(place: Place, sizes: dict[str, int], gather: Callable[[], Index]) -> Index:
    """The index of these shards of a place: from beside them, from the cache, or gathered now and put into the cache.

    It counts shards in the order of their names.
    """
    beside = _beside(place, sizes)
    if beside is not None:
        return beside
    file = _cache_file(place, sizes)
    stored = _load(file.read_bytes, sizes) if file is not None and file.is_file() else None
    if stored is not None:
        return stored
    index = gather()
    if file is not None:
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, index, sizes)
    return index


def write(file: Path, index: Index, sizes: dict[str, int]) -> None:
    """Write the index of shards of these names and sizes, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    shards = np.array(sorted(sizes.items()), dtype=np.dtype([("name", f"U{max(map(len, sizes))}"), ("size", "<i8")]))
    try:
        with partial.open("wb") as stream:
            names = np.frombuffer(index.names, dtype=np.uint8)
            np.savez(stream, format=np.array(_FORMAT), shards=shards, rows=index.rows, names=names)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _beside(place: Place, sizes: dict[str, int]) -> Index | None:
    """The index that lies beside the shards, unless one of them is of another size."""
    there = place.sizes()
    if INDEX not in there:
        return None
    length = there[INDEX] if there[INDEX] >= 0 else 1 << 40
    return _load(lambda: place.read(INDEX, 0, length), sizes)


def _cache_file(place: Place, sizes: dict[str, int]) -> Path | None:
    try:
        folder = default_cache_dir()
        states = [f"{_FORMAT} {place.where(name)} {size} {place.state(name)}" for name, size in sorted(sizes.items())]
    except (DataError, OSError):
        return None
    return (
        folder / f"{hashlib.sha256(chr(0).join(states).encode('utf-8', 'backslashreplace')).hexdigest()[:32]}.index.npz"
    )


def _load(read: Callable[[], bytes], sizes: dict[str, int]) -> Index | None:
    """What was written, or None where it is not whole, of another version or of other shards."""
    try:
        with np.load(io.BytesIO(read()), allow_pickle=False) as file:
            shards = dict(file["shards"].tolist())
            same = shards.keys() == sizes.keys() and all(sizes[n] in (-1, size) for n, size in shards.items())
            if int(file["format"]) != _FORMAT or not same:
                return None
            index = Index(file["rows"], file["names"].tobytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, DataError):
        return None
    rows = index.rows
    if rows.dtype != ROW or rows.ndim != 1:
        return None
    ends = rows["name"] + rows["letters"]
    inside = (rows["shard"] >= 0) & (rows["shard"] < len(sizes)) & (rows["name"] >= 0) & (rows["letters"] >= 0)
    inside &= rows["length"] <= MAX_BYTES
    inside &= (ends <= len(index.names)) & (rows["start"] >= 0) & (rows["length"] >= 0) & (rows["part"] >= 0)
    return index if bool(inside.all()) and bool(((rows["split"] >= 0) & (rows["split"] < len(SPLITS))).all()) else None
