"""Images of shards as a source of batches: decoded when they are asked for, and never written anywhere."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.decode import decode_bytes
from reidkit.data.sampler import WINDOW
from reidkit.data.shards.storage import Folder
from reidkit.data.shards.webdataset import TarShard
from reidkit.data.sources import UnreadableImagesError, fit, keep, pool
from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from reidkit.data.decode import Filter
    from reidkit.data.shards.samples import ShardSamples


# Groups of images read in the order of their use, ahead of it, in bounded memory.

THREADS = 4
"""Groups that are read at the same time: at a URL most of the time goes by waiting for an answer."""


class ReadAhead:
    """What `read` gives for each group; as many groups as `limit` bytes hold, and the one that is asked for."""

    def __init__(self, read: Callable[[int], list[bytes]], sizes: NDArray[np.int64], limit: int) -> None:
        """`sizes` [G] are the bytes of each group."""
        self._read, self._sizes, self._limit = read, sizes.tolist(), limit
        self._lock = threading.Lock()
        self._held: dict[int, Future[list[bytes]]] = {}
        self._bytes = 0
        self._left: dict[int, int] = {}
        self._coming: deque[int] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="reidkit-shards")

    def expect(self, groups: NDArray[np.int64]) -> None:
        """Forget what was expected before: from now on come images of these groups [N], in this order."""
        found, first, counts = np.unique(groups, return_index=True, return_counts=True)
        order = found[np.argsort(first)].tolist()
        with self._lock:
            self._left = dict(zip(found.tolist(), counts.tolist(), strict=True))
            for group in [group for group in self._held if group not in self._left]:
                self._drop(group)
            self._coming = deque(group for group in order if group not in self._held)
            self._fill()

    def take(self, group: int, images: int) -> list[bytes]:
        """The files of a group, of which so many images are used now; when all that were expected are, it is let go.

        Raises:
            DataError: it cannot be read.
        """
        with self._lock:
            if group not in self._held:
                self._make_room(self._sizes[group])
                self._hold(group)
            future = self._held[group]
        try:
            return future.result()
        finally:
            with self._lock:
                # A group is let go when all its expected images are used, or when it could not be read.
                left = self._left.get(group, 1) - images
                self._left[group] = left
                if group in self._held and (left <= 0 or future.exception()):
                    self._drop(group)
                self._fill()

    def _fill(self) -> None:
        while self._coming:
            group = self._coming[0]
            if group not in self._held:
                if self._bytes + self._sizes[group] > self._limit:
                    return
                self._hold(group)
            self._coming.popleft()

    def _make_room(self, size: int) -> None:
        """Drop what was read first: fewer images were used than announced, or others."""
        while self._held and self._bytes + size > self._limit:
            self._drop(next(iter(self._held)))

    def _hold(self, group: int) -> None:
        self._held[group] = self._pool.submit(self._read, group)
        self._bytes += self._sizes[group]

    def _drop(self, group: int) -> None:
        self._held.pop(group).cancel()
        self._bytes -= self._sizes[group]


def open_shards(
    samples: ShardSamples,
    size: tuple[int, int],
    resize: Filter = "bilinear",
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stream: bool | None = None,
) -> ShardImages | StreamedShards:
    """The images of `samples`, as `reidkit.data.images.open_images` gives those of files; nothing is decoded yet.

    From tars on a disk they are read one by one, in any order. From a URL, and from Parquet, whose row groups cannot
    be read in pieces, they are read group by group; with `stream` True from tars on a disk too. With `skip_unreadable`
    all are decoded once now, because it must be known how many are left.

    Raises:
        DataError: all images are unreadable; a shard cannot be read.
    """
    single = all(isinstance(shard, TarShard) and isinstance(shard.place, Folder) for shard in samples.shards)
    if stream is False and not single:
        raise DataError(
            "images at a URL or in Parquet cannot be read one by one: pass stream=True, or leave stream out",
            argument="stream",
        )
    kind = StreamedShards if stream or not single else ShardImages
    whole = kind(samples, np.arange(len(samples)), size, resize)
    if not skip_unreadable:
        return whole
    unreadable = dict(complaints(StreamedShards(samples, whole.readable, size, resize), progress))
    return kind(samples, keep(len(samples), unreadable, skip_unreadable=True), size, resize) if unreadable else whole


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

    def __init__(
        self, samples: ShardSamples, readable: NDArray[np.int64], size: tuple[int, int], resize: Filter = "bilinear"
    ) -> None:
        self.samples = samples if len(readable) == len(samples) else samples.take(readable)
        self.readable = readable
        self.size = size
        self._by: Filter = resize
        self._pool = pool()

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images, decoded for this call.

        Raises:
            UnreadableImagesError: one of them cannot be decoded.
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
            raise UnreadableImagesError(
                f"{next(iter(why.values()))}: repair it, or have unreadable images left out from the start",
                pixels,
                why,
                "skip_unreadable",
            )
        pixels.flags.writeable = False
        return pixels, np.arange(len(indices))

    def complaints(
        self, indices: NDArray[np.int64], look: Callable[[NDArray[np.uint8]], str | None] | None = None
    ) -> list[str | None]:
        """Return what is wrong with each of these images, or what `look` says of it, or None."""
        files = self._files(indices)

        def say(at: int) -> str | None:
            image, why = self._decoded(int(indices[at]), files(at))
            return why if image is None or look is None else look(image)

        return list(self._pool.map(say, range(len(indices))))

    def _decoded(self, index: int, data: bytes) -> tuple[NDArray[np.uint8] | None, str | None]:
        """Return the pixels of an image, or why there are none."""
        try:
            return decode_bytes(data, ""), None
        except DataError as error:
            return None, f"{self.samples[index].path}{error}"

    def _files(self, indices: NDArray[np.int64]) -> Callable[[int], bytes]:
        """Return the file of each image by its place in `indices`."""
        rows = self.samples.rows[indices]
        shard, part = rows["shard"].tolist(), rows["part"].tolist()
        starts, lengths = rows["start"].astype(np.int64), rows["length"].astype(np.int64)
        shards = self.samples.shards
        return lambda at: shards[shard[at]].read(part[at], starts[at : at + 1], lengths[at : at + 1])[0]


class StreamedShards(ShardImages):
    """Images that are read group by group, ahead of their use, in memory for two windows of `data.sampler`."""

    def __init__(
        self, samples: ShardSamples, readable: NDArray[np.int64], size: tuple[int, int], resize: Filter = "bilinear"
    ) -> None:
        super().__init__(samples, readable, size, resize)
        self.groups = self.samples.groups
        self.group_bytes = np.bincount(self.groups, weights=self.samples.rows["length"]).astype(np.int64)
        # The images of group g are `_members[_first[g]:_last[g]]`; image i is the `_nth[i]`-th of its group.
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
