"""WebDataset: tars in which the files of an image lie side by side, `KEY.jpg` and `KEY.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from reidkit.data.decode import MAX_BYTES
from reidkit.data.folder import camera
from reidkit.data.listing import SUFFIXES
from reidkit.data.shards.gather import Said, checked, gathered, read_shards
from reidkit.data.shards.place import Folder, set_name, shards_at
from reidkit.data.shards.samples import as_benchmark, shown
from reidkit.data.shards.tar import Reader, walk
from reidkit.types import NO_CAMERA, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from reidkit.data.shards.gather import Facts, ShardRows
    from reidkit.data.shards.index import Index
    from reidkit.data.shards.place import Place
    from reidkit.data.shards.samples import ShardSamples
    from reidkit.data.shards.tar import Entry
    from reidkit.types import Benchmark

LAYOUT = "webdataset (train-000.tar with KEY.jpg and KEY.json)"

PART = 16 << 20
"""Bytes of a shard that are read at once where images are not read one by one: 16 MiB."""

_IMAGES = frozenset(suffix[1:].encode() for suffix in SUFFIXES)
_LABELS = (b"cls", b"txt")
_LONGEST = 1 << 20
"""Bytes of a JSON file that are read: what is longer is no label."""


@dataclass(frozen=True)
class TarShard:
    """A tar."""

    place: Place
    name: str

    def read(self, part: int, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
        """The files, read in one piece from the first to the last."""
        del part
        if len(starts) == 1:
            return [self.place.read(self.name, int(starts[0]), int(lengths[0]))]
        first, end = int(starts.min()), int((starts + lengths).max())
        data = self.place.read(self.name, first, end - first)
        return [data[a : a + n] for a, n in zip((starts - first).tolist(), lengths.tolist(), strict=True)]

    def __str__(self) -> str:
        return self.place.where(self.name)


def matches(folder: Path) -> bool:
    """Whether `folder`, or the place of a URL, holds tars, or is one."""
    return bool(shards_at(folder, ".tar")[1])


def load(folder: Path) -> Benchmark:
    """The images in the tars of a folder or URL; nothing is unpacked.

    An image `KEY.jpg` (or another suffix of an image) goes with `KEY.json`, an object with `pid`, `camid` and `split`,
    or with `KEY.cls` or `KEY.txt`, the pid alone; the camera is then the number in a `c<N>` of the name, as in
    `folder`. Where no split is said, the shard's name begins with it. pids are as in `csv`.

    Raises:
        DataError: there are no tars; one is cut short or damaged; an image has no pid, or its key comes twice.
    """
    return as_benchmark(set_name(folder, "webdataset"), read(folder))


def read(folder: Path) -> ShardSamples:
    """The images of all splits together, as they lie in the shards.

    Raises:
        DataError: as `load`.
    """
    return read_shards(folder, ".tar", TarShard, gather, "KEY.jpg and KEY.json into them")


def gather(place: Place, sizes: Mapping[str, int]) -> Index:
    """The index of the tars of these names and sizes in a place, from their headers and labels.

    Raises:
        DataError: as `load`.
    """
    shards = (TarShard(place, name) for name in sorted(sizes))
    return gathered(shards, lambda shard, rows, split: _Tar(shard, rows, split).gather(sizes[shard.name]))


class _Tar:
    """One shard on the way into the index."""

    def __init__(self, shard: TarShard, rows: ShardRows, split: str) -> None:
        self._shard, self._rows, self._split = shard, rows, split
        self._seen: set[bytes] = set()

    def gather(self, size: int) -> None:
        block = 1 << 16 if isinstance(self._shard.place, Folder) else 1 << 22
        read = Reader(partial(self._shard.place.read, self._shard.name), block)
        key, image, facts = b"", None, None
        for entry in walk(read, self._size(size), str(self._shard)):
            folder, slash, base = entry.name.rpartition(b"/")
            stem, _, suffix = base.partition(b".")
            suffix = suffix.lower()
            if not stem:  # hidden
                continue
            if folder + slash + stem != key:
                self._add(key, image, facts)
                key, image, facts = folder + slash + stem, None, None
            if suffix in _IMAGES:
                if image:
                    raise DataError(f"{self._named(entry.name)} is the second image of its key: give it its own")
                image = entry
            elif suffix == b"json":
                facts = self._from_json(entry, read(entry.start, min(entry.length, _LONGEST)))
            elif suffix in _LABELS and facts is None:
                facts = self._from_label(entry, read(entry.start, min(entry.length, 1000)))
        self._add(key, image, facts)

    def _size(self, size: int) -> int:
        """The size where the place does not say: as much as can be read before the end shows itself."""
        return size if size >= 0 else 1 << 62

    def _add(self, key: bytes, image: Entry | None, facts: Facts | None) -> None:
        if image is None:
            return
        if facts is None:
            wanted = shown(key.rpartition(b"/")[2])
            raise DataError(f"{self._named(image.name)} has no {wanted}.json beside it, which says pid and camid")
        if image.length > MAX_BYTES:
            raise DataError(f"{self._named(image.name)} has {image.length:,} bytes, above the limit of {MAX_BYTES:,}")
        if key in self._seen:
            raise DataError(f"{self._named(key)} comes twice in this shard: give every image a key of its own")
        self._seen.add(key)
        self._rows.add(image.name, facts, image.start // PART, image.start, image.length)

    def _from_json(self, entry: Entry, text: bytes) -> Facts:
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise DataError(f"{self._named(entry.name)} is not an object in JSON")
        return self._checked(entry, Said(*(said.get(field) for field in Said._fields)))

    def _from_label(self, entry: Entry, text: bytes) -> Facts:
        word = text.decode("utf-8", "backslashreplace").strip()
        seen_by = camera(shown(entry.name.rpartition(b"/")[2]))
        return self._checked(entry, Said(word, None if seen_by == NO_CAMERA else seen_by))

    def _checked(self, entry: Entry, said: Said) -> Facts:
        return checked(said, self._split, self._named(entry.name))

    def _named(self, name: bytes) -> str:
        return f"{self._shard}:{shown(name)}"
