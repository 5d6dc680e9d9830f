"""From shards to the table of their images: what tars and Parquet files have in common."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from reidkit.data.formats.labels import numbered
from reidkit.data.shards.index import Index, indexed
from reidkit.data.shards.samples import ROW, Facts, Shard, ShardSamples, shown_text
from reidkit.data.shards.storage import shards_at
from reidkit.errors import DataError
from reidkit.types import SPLITS, Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.shards.storage import Place


class Named(Shard, Protocol):
    """A shard with the name of its file."""

    @property
    def name(self) -> str:
        """The last part of its path or URL."""


S = TypeVar("S", bound=Named)


def read_shards(
    folder: Path,
    suffix: str,
    shard: Callable[[Place, str], S],
    gather: Callable[[Place, dict[str, int]], Index],
    each: str,
) -> ShardSamples:
    """Return the images of all shards of a folder or URL whose names end in `suffix`, as they lie in them.

    `shard` makes one of place and name, `gather` the index where there is none, and `each` says what an image needs.

    Raises:
        DataError: there are no such shards, they hold no images, or one cannot be read.
    """
    place, sizes = shards_at(folder, suffix)
    if not sizes:
        raise DataError(f"{folder} holds no {suffix}: name the folder or URL of the shards")
    shards = tuple(shard(place, name) for name in sorted(sizes))
    index = indexed(place, sizes, lambda: gather(place, sizes))
    if not len(index.rows):
        raise DataError(f"the shards in {folder} hold no images: write {each}")
    return ShardSamples(shards, *index)


def gathered(shards: Iterable[S], add: Callable[[S, ShardRows, str], None]) -> Index:
    """Return the index of shards in this order: `add` puts the images of one into its rows.

    Its argument is the split that the name of the shard begins with, as in `query-000.tar`, or "". Where no name begins
    with one, all are for training.
    """
    shards = tuple(shards)
    told = {shard.name: split for shard in shards for split in SPLITS if shard.name.lower().startswith(split)}
    gathering = _Gathering()
    for shard in shards:
        rows = gathering.shard()
        add(shard, rows, told.get(shard.name, "") if told else "train")
        gathering.close(rows)
    return gathering.done()


class ShardRows:
    """The images of one shard."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.keys: list[bytes] = []
        self.pids: list[int | str] = []
        self.camids: list[int | str] = []
        self.names: tuple[dict[int, str], dict[int, str]] = ({}, {})
        self.split, self.part, self.start, self.length = (array("q") for _ in range(4))

    def add(self, key: bytes, facts: Facts, part: int, start: int, length: int) -> None:
        """One image; `facts` are those of `checked`.

        Raises:
            DataError: its pid or camid was called otherwise before.
        """
        self.keys.append(key)
        self.pids.append(facts.pid)
        self.camids.append(facts.camid)
        for known, number, name in zip(self.names, facts[:2], facts[3:], strict=True):
            if name and isinstance(number, int):
                called(known, number, str(name))
        self.split.append(facts.split)
        self.part.append(part)
        self.start.append(start)
        self.length.append(length)


def called(known: dict[int, str], number: int, name: str) -> None:
    """Keep what a number is called.

    Raises:
        DataError: it was called otherwise before.
    """
    if known.setdefault(number, name) != name:
        raise DataError(
            f"the shards call number {number} {shown_text(known[number])} and {shown_text(name)}: they are of several "
            "data sets, name one at a time"
        )


class _Column:
    """The labels of all images: an array for each shard as long as they are integers, else their text."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[NDArray[np.int64] | list[str]] = []
        self._called: dict[int, str] = {}

    def add(self, labels: list[int | str], names: dict[int, str]) -> None:
        """Add the labels of one shard, with what they are called."""
        text = any(isinstance(one, str) for one in labels)
        self._parts.append([str(one) for one in labels] if text else np.array(labels, dtype=np.int64))
        for number, name in names.items():
            called(self._called, number, name)

    def done(self, where: str) -> tuple[list[NDArray[np.int64]], dict[int, str]]:
        """Return the numbers of each shard's labels, and what they are called; `where` is named in errors."""
        if not any(isinstance(part, list) for part in self._parts):
            return [np.asarray(part, dtype=np.int64) for part in self._parts], self._called
        texts = [part if isinstance(part, list) else list(map(str, part.tolist())) for part in self._parts]
        numbers, names = numbered(set().union(*texts), self._name, where)
        return [np.array([numbers[text] for text in part], dtype=np.int64) for part in texts], names


class _Gathering:
    """Puts an index together, shard by shard."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.void]] = []
        self._pids, self._camids = _Column("pid"), _Column("camid")
        self._names = bytearray()

    def shard(self) -> ShardRows:
        """Return the rows to which what the next shard holds is added."""
        return ShardRows(len(self._chunks))

    def close(self, rows: ShardRows) -> None:
        """Take in the rows of a shard, which is complete."""
        chunk = np.zeros(len(rows.keys), dtype=ROW)
        chunk["shard"] = rows.number
        chunk["letters"] = [len(key) for key in rows.keys]
        chunk["name"] = len(self._names) + np.cumsum(chunk["letters"]) - chunk["letters"]
        for column in ("split", "part", "start", "length"):
            chunk[column] = np.frombuffer(getattr(rows, column), dtype=np.int64)
        self._pids.add(rows.pids, rows.names[0])
        self._camids.add(rows.camids, rows.names[1])
        self._names += b"".join(rows.keys)
        self._chunks.append(chunk)

    def done(self) -> Index:
        """The index. As soon as one pid (or camid) is no integer, all are numbered in the order of their names."""
        pids, pid_names = self._pids.done("the set of shards")
        camids, camid_names = self._camids.done("the set of shards")
        for chunk, pid, camid in zip(self._chunks, pids, camids, strict=True):
            chunk["pid"], chunk["camid"] = pid, camid
        rows = np.concatenate(self._chunks) if self._chunks else np.zeros(0, dtype=ROW)
        return Index(rows, bytes(self._names), Names(pid_names, camid_names))
