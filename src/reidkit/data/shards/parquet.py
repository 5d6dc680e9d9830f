"""Parquet: tables with a row for each image, its file in one column and its labels in others."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reidkit.data.formats.scan import Format
from reidkit.data.shards.gathering import gathered, read_shards
from reidkit.data.shards.index import notes_on
from reidkit.data.shards.samples import RawFacts, as_dataset, checked, shown
from reidkit.data.shards.storage import set_name, shards_at
from reidkit.errors import DataError
from reidkit.extras import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from reidkit.data.shards.gathering import ShardRows
    from reidkit.data.shards.index import Index
    from reidkit.data.shards.samples import ShardSamples
    from reidkit.data.shards.storage import Place
    from reidkit.types import Dataset

LAYOUT = "parquet (train-000.parquet with image, pid, camid)"

KEYS = ("key", "path")
"""Columns that may name the image; where neither is there, the number of its row does."""


@dataclass(frozen=True)
class ParquetShard:
    """A Parquet file. A part of it is a row group: smaller pieces cannot be read.

    Raises:
        DataError: pyarrow is not installed.
    """

    place: Place
    name: str

    def __post_init__(self) -> None:
        pyarrow()

    def read(self, part: int, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
        """Return the files in these rows of a row group; the last few groups are kept for single reads."""
        del lengths
        if len(starts) > 1:
            images = _row_group(self, part)
        else:
            with _LOCK:
                images = _cached_row_group(self, part)
        try:
            return [images[row] or b"" for row in starts.tolist()]
        except IndexError:
            raise DataError(f"{self} has fewer rows than its index: make the index again") from None

    def __str__(self) -> str:
        return self.place.where(self.name)


def matches(folder: Path) -> bool:
    """Return whether `folder`, or the place of a URL, holds Parquet files, or is one."""
    return bool(shards_at(folder, ".parquet")[1])


def load(folder: Path) -> Dataset:
    """Return the images in the Parquet files of a folder or URL.

    Columns: `image` (the bytes of the file, or a struct that has them as `bytes`), `pid` (numbers, or names as in
    `csv`), and where they are known `camid`, `split` and `key` or `path`. Where no split is given, the shard's
    name begins with it.

    Raises:
        DataError: there are no such files; pyarrow is not installed; one is damaged, lacks a column, or names an image
            twice.
    """
    return as_dataset(set_name(folder, "parquet"), read(folder), notes_on(folder, ".parquet"))


def read(folder: Path) -> ShardSamples:
    """Return the images of all splits together, as they lie in the shards.

    Raises:
        DataError: as `load`.
    """
    return read_shards(folder, ".parquet", ParquetShard, gather, "a row for each")


def gather(place: Place, sizes: Iterable[str]) -> Index:
    """Return the index of the Parquet files of these names in a place, from all their columns but the images.

    Raises:
        DataError: as `load`.
    """
    return gathered((ParquetShard(place, name) for name in sorted(sizes)), _gather_shard)


def _gather_shard(shard: ParquetShard, rows: ShardRows, split: str) -> None:
    with _opened(shard) as file:
        for group in range(file.num_row_groups):
            _gather_group(shard, file, group, rows, split)
    twice = next((key for key, count in Counter(rows.keys).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{shard}:{shown(twice)} comes twice in this shard: give every image a key of its own")


def _gather_group(shard: ParquetShard, file: Any, group: int, rows: ShardRows, split: str) -> None:
    there = set(file.schema_arrow.names)
    key = next((name for name in KEYS if name in there), None)
    wanted = [name for name in (key, *RawFacts._fields) if name in there]
    table = _asked(shard, lambda: file.read_row_group(group, columns=wanted).to_pydict())
    count = len(table["pid"])
    empty = [None] * count
    names = table[key] if key else range(len(rows.keys), len(rows.keys) + count)
    facts = zip(names, *(table.get(field, empty) for field in RawFacts._fields), strict=True)
    # The images are nearly all of a group. How much the column alone takes is not asked for: where a damaged table of
    # contents promises a column that the group lacks, that question ends the process, with no exception.
    length = max(0, file.metadata.row_group(group).total_byte_size) // max(count, 1)
    for row, (name, *raw) in enumerate(facts):
        code = name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogatepass")
        rows.add(code, checked(RawFacts(*raw), split, f"{shard}:{shown(code)}"), group, row, length)


@contextmanager
def _opened(shard: ParquetShard) -> Iterator[Any]:
    _, parquet = pyarrow()
    with shard.place.open(shard.name) as stream:
        file = _asked(shard, lambda: parquet.ParquetFile(stream, page_checksum_verification=True))
        for name in ("image", "pid"):
            if name not in file.schema_arrow.names:
                raise DataError(f"{shard} has no column {name}: the columns are image, pid, camid, split and key")
        twice = next((name for name, count in Counter(file.schema_arrow.names).items() if count > 1), None)
        if twice is not None:
            raise DataError(f"{shard} has two columns {shown(twice.encode(errors='surrogatepass'))}: leave one")
        if not _holds_bytes(file.schema_arrow.field("image").type):
            raise DataError(f"{shard}: its column image holds no bytes of files: write them as binary")
        yield file


_LOCK = threading.Lock()


@lru_cache(maxsize=4)
def _cached_row_group(shard: ParquetShard, group: int) -> list[bytes | None]:
    return _row_group(shard, group)


def _row_group(shard: ParquetShard, group: int) -> list[bytes | None]:
    with _opened(shard) as file:
        column = _asked(shard, lambda: file.read_row_group(group, columns=["image"]).column("image").to_pylist())
    return [value.get("bytes") if isinstance(value, dict) else value for value in column]


def _holds_bytes(kind: Any) -> bool:
    """Return whether a column of this type has a file in each row: its bytes, or a struct that has them as `bytes`."""
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    view = getattr(types, "is_binary_view", types.is_binary)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind) or view(kind))


def _asked(shard: ParquetShard, work: Callable[[], Any]) -> Any:
    """Return what pyarrow answers, its errors as ours."""
    try:
        return work()
    except OSError as error:
        why = error.strerror or "it is cut short or damaged"
        raise DataError(f"{shard} cannot be read: {why}") from None
    except MemoryError:
        raise
    except Exception as error:  # pyarrow's own errors, and Python's for what it cannot hold: dates, text, numbers
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{shard} is no whole Parquet file, or holds what cannot be read: {why}") from None


def pyarrow() -> tuple[Any, Any]:
    """Return the modules pyarrow and pyarrow.parquet.

    Raises:
        DataError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"Parquet needs pyarrow: {install('pyarrow')}") from None
    return pyarrow, pyarrow.parquet


FORMATS = {"parquet": Format(matches, load)}
