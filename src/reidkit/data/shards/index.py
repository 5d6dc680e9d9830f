"""The columns of a set of shards: gathered once, then read from a file beside the shards or in the cache."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.data.cache_dir import default_cache_dir
from reidkit.data.decode import MAX_BYTES
from reidkit.data.listing import numbered
from reidkit.data.shards.samples import ROW, SPLITS, shown
from reidkit.types import NO_CAMERA, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.shards.place import Place

INDEX = "reidkit-index.npz"
"""The file that `reidkit shard` lays beside the shards, so that nobody reads them all to find out what is in them."""

_FORMAT = 1
_HIGHEST = 10**9


class Index(NamedTuple):
    """Images `rows` [N] of dtype `ROW`, and their names, one after the other."""

    rows: NDArray[np.void]
    names: bytes


class Gathering:
    """Puts an index together, shard by shard."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.void]] = []
        self._people: list[Sequence[str] | None] = []
        self._names = bytearray()

    def shard(self) -> _ShardRows:
        """What the next shard holds is added to this."""
        return _ShardRows(len(self._chunks))

    def close(self, rows: _ShardRows) -> None:
        """The shard is complete.

        Raises:
            DataError: it holds an image twice.
        """
        chunk = np.zeros(len(rows.keys), dtype=ROW)
        chunk["shard"] = rows.number
        chunk["letters"] = [len(key) for key in rows.keys]
        chunk["name"] = len(self._names) + np.cumsum(chunk["letters"]) - chunk["letters"]
        for column in ("camid", "split", "part", "start", "length"):
            chunk[column] = np.frombuffer(getattr(rows, column), dtype=np.int64)
        text = any(isinstance(pid, str) for pid in rows.pids)
        if not text:
            chunk["pid"] = rows.pids
        self._people.append([str(pid) for pid in rows.pids] if text else None)
        self._names += b"".join(rows.keys)
        self._chunks.append(chunk)

    def done(self) -> Index:
        """The index. As soon as one pid is text that is no number, people are numbered in the order of their names."""
        known: set[str] = set()
        for chunk, people in zip(self._chunks, self._people, strict=True):
            known.update(people if people is not None else map(str, np.unique(chunk["pid"]).tolist()))
        if any(people is not None for people in self._people):
            numbers = numbered(known)
            for chunk, people in zip(self._chunks, self._people, strict=True):
                chunk["pid"] = [numbers[pid] for pid in (people or map(str, chunk["pid"].tolist()))]
        rows = np.concatenate(self._chunks) if self._chunks else np.zeros(0, dtype=ROW)
        return Index(rows, bytes(self._names))


class _ShardRows:
    """The images of one shard."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.keys: list[bytes] = []
        self.pids: list[int | str] = []
        self.camid, self.split, self.part, self.start, self.length = (array("q") for _ in range(5))

    def add(self, key: bytes, facts: tuple[int | str, int, int], part: int, start: int, length: int) -> None:
        """One image; `facts` are those of `checked`."""
        self.keys.append(key)
        self.pids.append(facts[0])
        self.camid.append(facts[1])
        self.split.append(facts[2])
        self.part.append(part)
        self.start.append(start)
        self.length.append(length)


def checked(pid: Any, camid: Any, split: Any, where: str) -> tuple[int | str, int, int]:
    """What a shard says of an image: pid (a number or a name), camid (None: unknown) and the number of the split.

    Raises:
        DataError: it says something else; `where` begins the sentence.
    """
    if not (_is_number(pid) or (isinstance(pid, str) and pid)):
        wrong = f"pid {pid!r} is neither a number nor a name"
    elif not (camid is None or _is_number(camid)):
        wrong = f"camid {camid!r} is not a number: leave it out if it is not known"
    elif split not in SPLITS:
        wrong = f"split {split!r} is none of {', '.join(SPLITS)}"
    else:
        return pid, NO_CAMERA if camid is None else camid, SPLITS.index(split)
    raise DataError(f"{where}: {shown(wrong.encode('utf-8', 'backslashreplace'))}")


def split_of(names: Sequence[str]) -> dict[str, str]:
    """The split that each shard's name begins with, as in `query-000.tar`.

    Where no name says one, all are for training; where only some do, those that do not are left out of the answer.
    """
    told = {name: split for name in names for split in SPLITS if name.lower().startswith(split)}
    return told or dict.fromkeys(names, "train")


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


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < _HIGHEST
