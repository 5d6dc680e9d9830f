"""The columns of a set of shards: gathered once, then read from a file beside the shards or from the cache."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit import npz
from reidkit.atomic import atomic_write
from reidkit.data.cache import default_cache_dir
from reidkit.data.decode import MAX_BYTES
from reidkit.data.shards.samples import ROW, shown_text
from reidkit.data.shards.storage import Folder, shards_at
from reidkit.errors import DataError
from reidkit.terminal import counted, first_few
from reidkit.types import JUNK, NO_CAMERA, NO_NAMES, SPLITS, Names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.shards.storage import Place


INDEX = "reidkit-index.npz"
"""The file that `reidkit shard` lays beside the shards, so that they need not be read to list their images."""

_FORMAT = 1

_LABELS = 2
"""How labels are taken from shards: an index in the cache that was gathered otherwise is gathered again."""
_SECOND = 10**9
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, DataError)
_PARTS = ("format", "shards", "rows", "names")
_FEW_IMAGES = 1_000_000
_LONGEST = 8 << 30
"""Bytes of an index, of a hundred million images."""
_LETTERS = 4096
"""Of a name, on average."""


class Index(NamedTuple):
    """Images `rows` [N] of dtype `ROW`, their names, one after the other, and what ids and cameras are called."""

    rows: NDArray[np.void]
    names: bytes
    called: Names = NO_NAMES


def indexed(place: Place, sizes: dict[str, int], gather: Callable[[], Index]) -> Index:
    """The index of these shards of a place: from beside them, from the cache, or gathered now and put into the cache.

    It counts shards in the order of their names. One that lies beside shards on a disk counts only if none of them has
    been written since: their sizes and their times are those that it tells, as after `cp -p`, `rsync -t` or unpacking.
    At a URL, where times are not those of writing, sizes alone must do.
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


def write(file: Path, index: Index, sizes: dict[str, int], times: dict[str, int] | None = None) -> None:
    """Write the index of shards of these names, sizes and times of change (ns), whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    shards = np.array(sorted(sizes.items()), dtype=np.dtype([("name", f"U{max(map(len, sizes))}"), ("size", "<i8")]))
    with atomic_write(file) as stream:
        names = np.frombuffer(index.names, dtype=np.uint8)
        told: dict[str, Any] = (
            {"times": np.array([times[name] for name in sorted(sizes)], dtype=np.int64)} if times else {}
        )
        told |= _called_as_arrays(index.called)
        np.savez(stream, format=np.array(_FORMAT), shards=shards, rows=index.rows, names=names, **told)


def notes_on(folder: Path, suffix: str) -> list[str]:
    """Return sentences where the shards of a folder or URL are others than the index beside them tells of."""
    place, sizes = shards_at(folder, suffix)
    there = place.sizes()
    if INDEX not in there or folder.name in sizes:  # or one shard alone is named
        return []
    try:
        with place.open(INDEX) as stream, npz.opened(stream, ("shards",), INDEX) as file:
            told = set(_sizes_told(file))
    except _UNREADABLE:
        return []  # and it is not used
    remedy = "copy the set again, or remove that file if what is there is what is meant"
    notes = []
    for what, names in (("more", sorted(told - there.keys())), ("fewer", sorted(sizes.keys() - told))):
        if names:
            shown = shown_text(first_few(names, 2))
            notes.append(f"{INDEX} tells of {counted(len(names), 'shard')} {what} than are there ({shown}): {remedy}")
    return notes


_CALLED = ("pid", "camid")
_CALLED_PARTS = ("pid_numbers", "pid_names", "camid_numbers", "camid_names")


def _called_as_arrays(called: Names) -> dict[str, NDArray[Any]]:
    """For ids and for cameras the numbers that stand for names, int64 [K], and the names [K]; nothing where none do."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind, names in zip(_CALLED, (called.pids, called.camids), strict=True):
        if names:
            arrays[f"{kind}_numbers"] = np.array(list(names), dtype=np.int64)
            arrays[f"{kind}_names"] = np.array(list(names.values()), dtype=np.str_)
    return arrays


def _called_from_arrays(file: npz.Archive) -> Names:
    """Return the same back; a file that has none, or is of the first version, gives none."""
    found: list[dict[int, str]] = []
    for kind in _CALLED:
        if f"{kind}_names" not in file.headers:
            found.append({})
            continue
        numbers, names = (file.read(f"{kind}_{what}").tolist() for what in ("numbers", "names"))
        found.append({int(number): shown_text(str(name)) for number, name in zip(numbers, names, strict=True)})
    return Names(*found)


def _sizes_told(file: npz.Archive) -> dict[str, int]:
    """The names of the shards and their bytes, as the index tells them.

    Raises:
        DataError: it tells something else.
    """
    kinds = [kind.kind for kind, *_ in (file.headers["shards"].dtype.fields or {}).values()]
    if kinds != ["U", "i"]:
        raise DataError(f"{INDEX} tells of no shards: make it again")
    return dict(file.read("shards").tolist())


def _beside(place: Place, sizes: dict[str, int]) -> Index | None:
    """Return the index that lies beside the shards, unless one of them has changed."""
    there = place.sizes()
    if INDEX not in there:
        return None
    length = there[INDEX] if there[INDEX] >= 0 else _LONGEST
    if length > _LONGEST:
        return None
    data = place.read(INDEX, 0, length)
    if isinstance(place, Folder) and not _in_time(place, data, sizes):
        return None
    return _load(lambda: data, sizes)


def _in_time(place: Folder, data: bytes, sizes: dict[str, int]) -> bool:
    """Whether all shards have the times that the index tells; one of an earlier version tells none, but has its own."""
    try:
        now = [int(place.state(name)) for name in sorted(sizes)]
        with npz.opened(io.BytesIO(data), ("times",), INDEX) as file:
            if "times" not in file.headers:
                return max(now) <= int(place.state(INDEX))
            if file.headers["times"].shape != (len(now),):
                return False
            told = file.read("times").tolist()
    except _UNREADABLE:
        return False
    return len(told) == len(now) and all(map(_same_time, told, now))


def _same_time(told: int, now: int) -> bool:
    """Many programs that copy a file keep its time in whole seconds alone."""
    return told == now or (now % _SECOND == 0 and told // _SECOND == now // _SECOND)


def _cache_file(place: Place, sizes: dict[str, int]) -> Path | None:
    try:
        folder = default_cache_dir()
        states = [
            f"{_FORMAT} {_LABELS} {place.where(name)} {size} {place.state(name)}"
            for name, size in sorted(sizes.items())
        ]
    except (DataError, OSError):
        return None
    return (
        folder / f"{hashlib.sha256(chr(0).join(states).encode('utf-8', 'backslashreplace')).hexdigest()[:32]}.index.npz"
    )


def _believable_names(headers: Mapping[str, npz.Header]) -> bool:
    """Whether what ids and cameras are called is text, one beside each number, and no more of them than images."""
    for numbers, names in (_CALLED_PARTS[:2], _CALLED_PARTS[2:]):
        if numbers not in headers and names not in headers:
            continue
        if numbers not in headers or names not in headers or headers[numbers].shape != headers[names].shape:
            return False
        shape, text = headers[names].shape, headers[names].dtype
        if len(shape) != 1 or shape[0] > headers["rows"].shape[0] or text.kind != "U" or text.itemsize > 4 * _LETTERS:
            return False
    return True


def _believable(headers: Mapping[str, npz.Header], sizes: dict[str, int]) -> bool:
    """Whether arrays are of the types and lengths that the index of these shards can have, before any is unpacked."""
    if (
        not set(_PARTS) <= set(headers)
        or not _believable_names(headers)
        or headers["rows"].dtype != ROW
        or headers["names"].dtype != np.uint8
    ):
        return False
    shapes = [headers[name].shape for name in ("rows", "names", "shards")]
    if headers["format"].shape != () or any(len(shape) != 1 for shape in shapes):
        return False
    (images,), (letters,), (shards,) = shapes
    # An image takes a byte or more of its shard, but for a few that a Parquet file may hold many times.
    most = max(_FEW_IMAGES, sum(sizes.values())) if min(sizes.values(), default=0) >= 0 else images
    longest = 4 * max(map(len, sizes), default=0) + 8
    return (
        images <= most
        and letters <= images * _LETTERS
        and shards == len(sizes)
        and headers["shards"].dtype.itemsize <= longest
    )


def _load(read: Callable[[], bytes], sizes: dict[str, int]) -> Index | None:
    """Return what was written, or None where it is not whole, of another version or of other shards."""
    try:
        with npz.opened(io.BytesIO(read()), (*_PARTS, *_CALLED_PARTS), INDEX) as file:
            if not _believable(file.headers, sizes):
                return None
            shards = _sizes_told(file)
            same = shards.keys() == sizes.keys() and all(sizes[n] in (-1, size) for n, size in shards.items())
            if int(file.read("format")) != _FORMAT or not same:
                return None
            index = Index(file.read("rows"), file.read("names").tobytes(), _called_from_arrays(file))
    except _UNREADABLE:
        return None
    rows = index.rows
    ends = rows["name"] + rows["letters"]
    inside = (rows["shard"] >= 0) & (rows["shard"] < len(sizes)) & (rows["name"] >= 0) & (rows["letters"] >= 0)
    inside &= (rows["length"] <= MAX_BYTES) & (rows["pid"] >= JUNK) & (rows["camid"] >= NO_CAMERA)
    inside &= (ends <= len(index.names)) & (rows["start"] >= 0) & (rows["length"] >= 0) & (rows["part"] >= 0)
    return index if bool(inside.all()) and bool(((rows["split"] >= 0) & (rows["split"] < len(SPLITS))).all()) else None
