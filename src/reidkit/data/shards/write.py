"""One shard, written whole or not at all, the same bytes for the same images."""

from __future__ import annotations

import io
import itertools
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
    """An image on its way into a shard: the name of its file, the file, and what is known of it.

    `pid_name` and `camid_name` say what these are called, or "" where they are called nothing; None where none is.
    """

    name: str
    data: bytes
    pid: int
    camid: int
    split: str
    pid_name: str | None = None
    camid_name: str | None = None


Record = tuple[str, bytes, int, int, str] | Item
"""An `Item`, or the first five of its fields."""

_CALLED = ("pid_name", "camid_name")
"""What ids and cameras are called: written where they are called something."""


def write_tar(path: Path, items: Iterable[Record]) -> int:
    """Write images, given as `Item`, into a WebDataset tar: `KEY.json` after each `KEY.jpg`. Gives their number.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    with whole(path) as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for item in itertools.starmap(Item, items):
            called = {name: getattr(item, name) for name in _CALLED if getattr(item, name)}
            said = json.dumps({"pid": item.pid, "camid": item.camid, "split": item.split, **called}).encode()
            for suffix, content in ((suffix_of(item.name), item.data), (".json", said)):
                entry = tarfile.TarInfo(item.name.removesuffix(suffix_of(item.name)) + suffix)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            count += 1
    return count


def write_parquet(path: Path, items: Iterable[Record]) -> int:
    """Write images, given as `Item`, into a Parquet file with the columns key, image, pid, camid and split.

    If ids or cameras are called something, pid_name and camid_name come after them.

    Raises:
        DataError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    arrow, parquet = pyarrow()
    kinds = (("key", arrow.binary()), ("image", arrow.binary()), ("pid", arrow.int64()), ("camid", arrow.int64()))
    groups = _groups(itertools.starmap(Item, items))
    first = next(groups, [])
    called = [(name, arrow.string()) for name in _CALLED if any(getattr(item, name) is not None for item in first)]
    schema = arrow.schema([*kinds, ("split", arrow.string()), *called])
    count = 0
    # Images are compressed already.
    with whole(path) as stream, parquet.ParquetWriter(stream, schema, compression="none") as writer:
        for group in itertools.chain([first] if first else [], groups):
            columns: dict[str, list[Any]] = {"key": [os.fsencode(item.name) for item in group]}
            columns["image"] = [item.data for item in group]
            columns |= {name: [getattr(item, name) for item in group] for name in schema.names[2:]}
            writer.write_table(arrow.table(columns, schema=schema))
            count += len(group)
    return count


def suffix_of(name: str) -> str:
    """From the first dot of the last part on: what WebDataset takes for the kind of a file."""
    base = name.rpartition("/")[2]
    return base[base.find(".") :] if "." in base else ""


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item.data)
        if size >= ROW_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
