"""From the shards of a folder or URL to their index: what tars and Parquet files have in common."""

from __future__ import annotations

import reprlib
from array import array
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from reidkit.data.numbering import numbered
from reidkit.data.shards.index import Index, indexed
from reidkit.data.shards.place import shards_at
from reidkit.data.shards.samples import ROW, SPLITS, Shard, ShardSamples, shown
from reidkit.types import NO_CAMERA, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.data.shards.place import Place

_HIGHEST = 10**9


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
    """The images of all shards of a folder or URL whose names end in `suffix`, as they lie in them.

    `shard` makes one of a place and a name, `gather` is asked for the index where nobody has kept it, and `each` says
    what must be written for an image.

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
    """The index of shards in this order: `add` puts the images of one into its rows.

    It is told the split that the name of the shard begins with, as in `query-000.tar`, or "". Where no name begins with
    one, all are for training.
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


def checked(facts: tuple[Any, Any, Any], split_of_shard: str, where: str) -> tuple[int | str, int, int]:
    """What a shard says of an image: pid (a number or a name), camid (None: unknown) and the number of the split.

    `facts` are pid, camid and split as they were found; where the last one is None, the split of the shard counts.

    Raises:
        DataError: it says something else, or nobody says a split; `where` begins the sentence.
    """
    pid, camid, split = facts
    if split is None and not split_of_shard:
        raise DataError(
            f"{where} says no split, nor does the name of the shard: begin that with train, query or gallery"
        )
    split = split or split_of_shard
    if not (_is_number(pid) or (isinstance(pid, str) and pid)):
        wrong = f"pid {reprlib.repr(pid)} is neither a number nor a name"
    elif not (camid is None or _is_number(camid)):
        wrong = f"camid {reprlib.repr(camid)} is not a number: leave it out if it is not known"
    elif split not in SPLITS:
        wrong = f"split {reprlib.repr(split)} is none of {', '.join(SPLITS)}"
    else:
        return pid, NO_CAMERA if camid is None else camid, SPLITS.index(split)
    raise DataError(f"{where}: {shown(wrong.encode('utf-8', 'backslashreplace'))}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < _HIGHEST


class _Gathering:
    """Puts an index together, shard by shard."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.void]] = []
        self._people: list[Sequence[str] | None] = []
        self._names = bytearray()

    def shard(self) -> ShardRows:
        """What the next shard holds is added to this."""
        return ShardRows(len(self._chunks))

    def close(self, rows: ShardRows) -> None:
        """The shard is complete."""
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
