"""Sources of images for batches: uint8 at the network's input size, from a mapped file or decoded on demand."""

from __future__ import annotations

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from reidkit.data.decode import Filter, decode, resize
from reidkit.errors import DataError
from reidkit.terminal import first_few
from reidkit.types import as_samples
from reidkit.workers import cores_here

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.types import ImageFile, Sample, Samples

_GROUP = 32


class Rows(Protocol):
    """Whatever gives images by their indices."""

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images with these indices [B], not copied where they lie in memory already.

        Returns:
            A read-only array uint8 [R, H, W, 3], and the rows of it, int64 [B], that hold the images.
        """


class ImageSource(Rows, Protocol):
    """M readable images of one size, known by their indices 0 to M-1."""

    @property
    def samples(self) -> Samples:
        """What the images are, in the order of their indices."""

    @property
    def readable(self) -> NDArray[np.int64]:
        """Where they stood among the samples that were asked for, int64 [M], rising."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def __len__(self) -> int: ...


@runtime_checkable
class Streamed(Protocol):
    """A source whose images can only be read a group at a time, and which reads groups ahead of their use."""

    groups: NDArray[np.int64]
    """The group of each image, int64 [M], from 0 on."""

    group_bytes: NDArray[np.int64]
    """How much a group takes in memory, int64 [G]."""

    def expect(self, order: NDArray[np.int64]) -> None:
        """These images will be asked for, in this order."""


READ_ANYWHERE = "give loose images, or .tar shards on a disk without stream=True"
"""The remedy where streamed shards will not do: those at a URL and Parquet cannot be read otherwise."""


class UnreadableImagesError(DataError):
    """Some of the images that were asked for at once cannot be decoded.

    `pixels` uint8 [B, H, W, 3] holds the others; `why` has the reason for each unreadable one by its index.
    """

    def __init__(self, sentence: str, pixels: NDArray[np.uint8], why: dict[int, str], argument: str = "") -> None:
        super().__init__(sentence, argument=argument)
        self.pixels, self.why = pixels, why


class MappedImages:
    """Images of a file in memory, as far as there is room: the operating system sees to that."""

    def __init__(self, pixels: NDArray[np.uint8], samples: Sequence[Sample], readable: NDArray[np.int64]) -> None:
        self.samples = as_samples(samples).take(readable)
        self.readable = readable
        self.size = (pixels.shape[1], pixels.shape[2])
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the whole file, and where in it the images are."""
        return self._pixels, self.readable[indices]


class ImagesOnDemand:
    """Images that are decoded, in a few threads, whenever they are asked for."""

    def __init__(
        self, samples: Sequence[Sample], readable: NDArray[np.int64], size: tuple[int, int], by: Filter = "bilinear"
    ) -> None:
        self.samples = as_samples(samples).take(readable)
        self.readable = readable
        self.size = size
        self._by = by
        self._pool = pool()

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images, decoded for this call.

        Raises:
            UnreadableImagesError: a file that could be read at the start cannot be read any more.
        """
        paths = [self.samples[i].path for i in indices.tolist()]
        pixels = np.empty((len(paths), *self.size, 3), dtype=np.uint8)
        found = self._pool.map(partial(_complaint, by=self._by), paths, pixels)
        why = {at: reason for at, reason in enumerate(found) if reason}
        if why:
            first = next(iter(why.values()))
            raise UnreadableImagesError(f"{first}; it could be read before: repair it and run again", pixels, why)
        pixels.flags.writeable = False
        return pixels, np.arange(len(paths), dtype=np.int64)


class WithReplacements:
    """The images that a run was begun with, when some of them cannot be read any more; an `ImageSource`.

    These are all of `samples` but those that were left out when the run began. The order of a run's batches is a
    function of its list of images, so the list must stay. An image that `source` has lost since is replaced by the next
    one of the same id; one that was repaired since stays out.

    Raises:
        DataError: no image of an id can be read.
    """

    def __init__(self, source: ImageSource, samples: Sequence[Sample], left_out: Sequence[int]) -> None:
        self.readable = np.setdiff1d(np.arange(len(samples)), np.asarray(left_out, dtype=np.int64))
        self.samples = as_samples(samples).take(self.readable)
        self.size = source.size
        self._source = source
        self.lost = np.setdiff1d(self.readable, source.readable)
        """The indices in `samples` of the images that are replaced, int64 [L], rising."""
        row_of = np.full(len(samples), -1)
        row_of[source.readable] = np.arange(len(source))
        row_of[self.lost] = [
            row_of[i] for i in _replacements(self.lost, np.intersect1d(self.readable, source.readable), samples)
        ]
        self._rows = row_of[self.readable]

    def __len__(self) -> int:
        return len(self.samples)

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return what the source has for them (see `ImageSource`)."""
        return self._source.rows(self._rows[indices])


def _replacements(lost: NDArray[np.int64], readable: NDArray[np.int64], samples: Sequence[Sample]) -> list[int]:
    """For each lost image the next readable one of its id in the list, which begins anew at its end."""
    of_id: dict[int, list[int]] = defaultdict(list)
    for i in readable.tolist():
        of_id[samples[i].pid].append(i)
    found = []
    for i in lost.tolist():
        others = of_id[samples[i].pid]
        if not others:
            pid, path = samples[i].pid, samples[i].path
            raise DataError(f"no image of id {pid} can be read any more ({path}): repair one and run again")
        found.append(others[int(np.searchsorted(others, i)) % len(others)])
    return found


def decode_all(
    paths: Sequence[ImageFile],
    size: tuple[int, int],
    progress: Callable[[int, int], None] | None,
    by: Filter = "bilinear",
) -> Generator[tuple[NDArray[np.uint8], dict[int, str]], None, None]:
    """Yield every image at `size` (height, width), in order and in groups: uint8 [G, H, W, 3] each.

    With each group come the indices of unreadable images, and why. Such an image is black.
    `progress` is called after each group with the number of images done and the number of all.
    """
    done = 0
    with pool() as threads:
        try:
            for pixels, unreadable in _in_order(threads, paths, size, by):
                yield pixels, unreadable
                done += len(pixels)
                if progress:
                    progress(done, len(paths))
        finally:
            threads.shutdown(cancel_futures=True)


def _in_order(
    threads: ThreadPoolExecutor, paths: Sequence[ImageFile], size: tuple[int, int], by: Filter
) -> Iterator[tuple[NDArray[np.uint8], dict[int, str]]]:
    """Groups in the order of the paths, few enough at a time that memory does not grow with their number."""
    pending: deque[Future[tuple[NDArray[np.uint8], dict[int, str]]]] = deque()
    for first in range(0, len(paths), _GROUP):
        pending.append(threads.submit(_read_group, paths[first : first + _GROUP], first, size, by))
        if len(pending) > 2 * _threads():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _read_group(
    paths: Sequence[ImageFile], first: int, size: tuple[int, int], by: Filter
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    pixels = np.zeros((len(paths), *size, 3), dtype=np.uint8)
    unreadable = {}
    for i, path in enumerate(paths):
        try:
            _read_into(path, pixels[i], by)
        except DataError as error:
            unreadable[first + i] = str(error)
    return pixels, unreadable


def _read_into(path: ImageFile, out: NDArray[np.uint8], by: Filter) -> None:
    """Decode into `out` [H, W, 3], resized where the size differs."""
    fit(decode(path), out, by)


def _complaint(path: ImageFile, out: NDArray[np.uint8], by: Filter) -> str | None:
    """Return what keeps an image from being decoded into `out`; None where it is."""
    try:
        _read_into(path, out, by)
    except DataError as error:
        return str(error)
    return None


def fit(image: NDArray[np.uint8], out: NDArray[np.uint8], by: Filter) -> None:
    """Put `image` [h, w, 3] into `out` [H, W, 3], resized where the size differs."""
    if image.shape == out.shape:
        out[:] = image
    else:
        resize(image, out, by)


def keep(count: int, unreadable: dict[int, str], skip_unreadable: bool) -> NDArray[np.int64]:
    """Return which of `count` images are left, rising, when the `unreadable` ones are left out.

    Raises:
        DataError: some are unreadable and that is not allowed, or all are.
    """
    if unreadable and not (skip_unreadable and len(unreadable) < count):
        names = first_few((unreadable[i] for i in sorted(unreadable)), between="; ")
        remedy = (
            "repair them" if len(unreadable) == count else "repair them, or pass skip_unreadable=True to leave them out"
        )
        raise DataError(
            f"{len(unreadable)} of {count} images cannot be read ({names}): {remedy}", argument="skip_unreadable"
        )
    readable = np.ones(count, dtype=bool)
    readable[list(unreadable)] = False
    return np.flatnonzero(readable)


def pool() -> ThreadPoolExecutor:
    """Threads that decode, one for each core."""
    return ThreadPoolExecutor(_threads(), thread_name_prefix="reidkit-decode")


def _threads() -> int:
    return min(cores_here(), 16)
