"""Images of shards as a source of batches: decoded when they are asked for, and never written anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.decode import decode_bytes
from reidkit.data.shards.place import Folder
from reidkit.data.shards.readahead import ReadAhead
from reidkit.data.shards.webdataset import TarShard
from reidkit.data.sources import BrokenImagesError, fit, keep, pool
from reidkit.data.windows import WINDOW
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from reidkit.data.resize import Filter
    from reidkit.data.shards.samples import ShardSamples
    from reidkit.recipe import Images


def open_shards(
    samples: ShardSamples,
    images: Images,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stream: bool | None = None,
) -> ShardImages | StreamedShards:
    """The images of `samples`, as `reidkit.data.cache.open_images` gives those of files; nothing is decoded yet.

    From tars on a disk they are read one by one, in any order. From a URL, and from Parquet, whose row groups cannot
    be read in pieces, they are read group by group; with `stream` True from tars on a disk too. With `skip_broken` all
    are decoded once now, because it must be known how many are left.

    Raises:
        DataError: all images are broken; a shard cannot be read.
    """
    single = all(isinstance(shard, TarShard) and isinstance(shard.place, Folder) for shard in samples.shards)
    if stream is False and not single:
        raise DataError("images at a URL or in Parquet cannot be read one by one: leave --no-stream away")
    kind = StreamedShards if stream or not single else ShardImages
    whole = kind(samples, np.arange(len(samples)), images)
    if not skip_broken:
        return whole
    broken = dict(complaints(StreamedShards(samples, whole.kept, images), progress))
    return kind(samples, keep(len(samples), broken, skip_broken=True), images) if broken else whole


def complaints(
    source: StreamedShards,
    progress: Callable[[int, int], None] | None = None,
    look: Callable[[NDArray[np.uint8]], str | None] | None = None,
) -> Iterator[tuple[int, str]]:
    """The images that cannot be decoded, and why, in the order of their groups; and what `look` says of the others."""
    order = np.argsort(source.groups, kind="stable")
    source.expect(order)
    for first in range(0, len(order), 256):
        indices = order[first : first + 256]
        yield from ((i, why) for i, why in zip(indices.tolist(), source.complaints(indices, look), strict=True) if why)
        if progress:
            progress(first + len(indices), len(order))


class ShardImages:
    """Images that are read one by one."""

    def __init__(self, samples: ShardSamples, kept: NDArray[np.int64], images: Images) -> None:
        self.samples = samples if len(kept) == len(samples) else samples.take(kept)
        self.kept = kept
        self.size = (images.height, images.width)
        self._by: Filter = images.resize
        self._pool = pool()

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The images, decoded for this call.

        Raises:
            BrokenImagesError: one of them cannot be decoded.
            DataError: a shard cannot be read.
        """
        pixels = np.empty((len(indices), *self.size, 3), dtype=np.uint8)
        files = self._files(indices)

        def put(at: int, out: NDArray[np.uint8]) -> str | None:
            image, why = self._decoded(int(indices[at]), files(at))
            if image is not None:
                fit(image, out, self._by)
            return why

        why = {at: reason for at, reason in enumerate(self._pool.map(put, range(len(indices)), pixels)) if reason}
        if why:
            raise BrokenImagesError(f"{next(iter(why.values()))}: mend it, or train with --skip-broken", pixels, why)
        pixels.flags.writeable = False
        return pixels, np.arange(len(indices))

    def complaints(
        self, indices: NDArray[np.int64], look: Callable[[NDArray[np.uint8]], str | None] | None = None
    ) -> list[str | None]:
        """What is wrong with each of these images, or what `look` says of it, or None."""
        files = self._files(indices)

        def say(at: int) -> str | None:
            image, why = self._decoded(int(indices[at]), files(at))
            return why if image is None or look is None else look(image)

        return list(self._pool.map(say, range(len(indices))))

    def _decoded(self, index: int, data: bytes) -> tuple[NDArray[np.uint8] | None, str | None]:
        """The pixels of an image, or why there are none."""
        try:
            return decode_bytes(data, ""), None
        except DataError as error:
            return None, f"{self.samples[index].path}{error}"

    def _files(self, indices: NDArray[np.int64]) -> Callable[[int], bytes]:
        """The file of each image by its place in `indices`."""
        rows = self.samples.rows[indices]
        shard, part = rows["shard"].tolist(), rows["part"].tolist()
        starts, lengths = rows["start"].astype(np.int64), rows["length"].astype(np.int64)
        shards = self.samples.shards
        return lambda at: shards[shard[at]].read(part[at], starts[at : at + 1], lengths[at : at + 1])[0]


class StreamedShards(ShardImages):
    """Images that are read group by group, ahead of their use, in memory for two windows of `reidkit.data.windows`."""

    def __init__(self, samples: ShardSamples, kept: NDArray[np.int64], images: Images) -> None:
        super().__init__(samples, kept, images)
        self.groups = self.samples.groups
        self.group_bytes = np.bincount(self.groups, weights=self.samples.rows["length"]).astype(np.int64)
        self._members = np.argsort(self.groups, kind="stable")
        counts = np.bincount(self.groups)
        self._first = np.cumsum(counts) - counts
        self._nth = np.empty(len(self.groups), dtype=np.int64)
        self._nth[self._members] = np.arange(len(self.groups)) - np.repeat(self._first, counts)
        self._last = self._first + counts
        room = 2 * WINDOW + 2 * int(self.group_bytes.max(initial=0))
        self._ahead = ReadAhead(self._read_group, self.group_bytes, room)

    def expect(self, order: NDArray[np.int64]) -> None:
        """These images will be asked for, in this order."""
        self._ahead.expect(self.groups[order.ravel()])

    def _files(self, indices: NDArray[np.int64]) -> Callable[[int], bytes]:
        groups, counts = np.unique(self.groups[indices], return_counts=True)
        held = {group: self._ahead.take(group, n) for group, n in zip(groups.tolist(), counts.tolist(), strict=True)}
        return lambda at: held[int(self.groups[indices[at]])][int(self._nth[indices[at]])]

    def _read_group(self, group: int) -> list[bytes]:
        return self.samples.read(self._members[self._first[group] : self._last[group]])
