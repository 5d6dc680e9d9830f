"""One shard, written whole or not at all, the same bytes for the same images."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from reidkit.data.shards.parquet import pyarrow
from reidkit.whole import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

ROW_GROUP = 4 << 20
"""Bytes of images in a row group: the least that can be read of a Parquet file."""


class Item(NamedTuple):
    """An image on its way into a shard: the name of its file, the file, and what is known of it."""

    name: str
    data: bytes
    pid: int
    camid: int
    split: str


def write_tar(path: Path, items: Iterable[tuple[str, bytes, int, int, str]]) -> int:
    """Write images, given as `Item`, into a WebDataset tar: `KEY.json` after each `KEY.jpg`. Gives their number.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    with whole(path) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for item in map(Item._make, items):
            said = json.dumps({"pid": item.pid, "camid": item.camid, "split": item.split}).encode()
            for suffix, content in ((suffix_of(item.name), item.data), (".json", said)):
                entry = tarfile.TarInfo(item.name.removesuffix(suffix_of(item.name)) + suffix)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            count += 1
    return count


def write_parquet(path: Path, items: Iterable[tuple[str, bytes, int, int, str]]) -> int:
    """Write images, given as `Item`, into a Parquet file with the columns key, image, pid, camid and split.

    Raises:
        DataError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    arrow, parquet = pyarrow()
    kinds = (("key", arrow.binary()), ("image", arrow.binary()), ("pid", arrow.int64()), ("camid", arrow.int64()))
    schema = arrow.schema([*kinds, ("split", arrow.string())])
    count = 0
    # Images are compressed already.
    with whole(path) as stream, parquet.ParquetWriter(stream, schema, compression="none") as writer:
        for group in _groups(items):
            columns: list[list[Any]] = [list(column) for column in zip(*group, strict=True)]
            columns[0] = [os.fsencode(name) for name in columns[0]]
            writer.write_table(arrow.table(dict(zip(schema.names, columns, strict=True)), schema=schema))
            count += len(group)
    return count


def suffix_of(name: str) -> str:
    """From the first dot of the last part on: what WebDataset takes for the kind of a file."""
    base = name.rpartition("/")[2]
    return base[base.find(".") :] if "." in base else ""


def _groups(
    items: Iterable[tuple[str, bytes, int, int, str]],
) -> Iterator[list[tuple[str, bytes, int, int, str]]]:
    group: list[tuple[str, bytes, int, int, str]] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item[1])
        if size >= ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
