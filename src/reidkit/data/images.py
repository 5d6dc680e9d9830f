"""The image cache: images decoded once into a memory-mapped file of uint8 pixels at the network's input size."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from reidkit.arguments import check_choice, check_whole
from reidkit.atomic import NO_ROOM, atomic_write, hold
from reidkit.data.decode import Filter, decode
from reidkit.data.shards import parquet, webdataset
from reidkit.data.shards.reader import open_shards
from reidkit.data.shards.samples import ShardSamples
from reidkit.data.sources import ImagesOnDemand, ImageSource, MappedImages, decode_all, keep
from reidkit.errors import DataError, UsageError
from reidkit.types import as_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from reidkit.data.shards.samples import Member
    from reidkit.types import ImageFile, Sample

_FORMAT = 1
_END = b"reidkit\n"


def open_images(  # noqa: PLR0913 (options by name only)
    samples: Sequence[Sample],
    size: tuple[int, int],
    *,
    resize: Filter = "bilinear",
    cache_dir: str | Path | None = None,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stream: bool | None = None,
) -> ImageSource:
    """Return the images of `samples` at `size` (height, width), resized by the filter `resize` where theirs differs.

    With a `cache_dir` they are decoded once into a file there, which is used again as long as the paths, the sizes, the
    times of change and the input size stay the same. Without, they are decoded whenever they are asked for; they are
    then read once at the start all the same, so that an unreadable image stops a run before it begins.

    Images in shards are never written into the cache, and read at the start only to leave unreadable ones out.

    Args:
        samples: The images, N of them.
        size: Height and width in pixels.
        resize: Pillow's filter of that name.
        cache_dir: The folder for the cache; it is made if it is not there. None: no cache.
        skip_unreadable: Leave out images that cannot be read (see `ImageSource.readable`) instead of refusing.
        progress: Called now and then with the number of images decoded so far and the number of all.
        stream: Read shards on a disk group by group (see `reidkit.data.shards.reader`). None: as the shards need it.

    Raises:
        DataError: images are unreadable, all of them or without `skip_unreadable`; there is none; the cache cannot be
            written.
        UsageError: what are no samples, or no size.
    """
    size = _checked_size(size)
    check_choice(resize, Filter, "resize")
    if not samples:
        raise DataError("there is no image to open: see with `reidkit data DIR` what the folder holds")
    samples = as_samples(samples)
    if isinstance(samples, ShardSamples):
        return open_shards(samples, size, resize, skip_unreadable=skip_unreadable, progress=progress, stream=stream)
    paths = [sample.path for sample in samples]
    files = [path for path in paths if isinstance(path, Path)]
    if cache_dir is None or len(files) < len(paths):
        decoded = decode_all(paths, size, progress, resize)
        unreadable = {i: why for _, reasons in decoded for i, why in reasons.items()}
        return ImagesOnDemand(samples, keep(len(samples), unreadable, skip_unreadable), size, resize)
    file = _CacheFile(Path(cache_dir), files, size, resize)
    pixels, unreadable = file.load() or file.build(progress)
    return MappedImages(pixels, samples, keep(len(samples), unreadable, skip_unreadable))


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width as ints.

    Raises:
        UsageError: they are something else.
    """
    if not isinstance(size, Sequence | np.ndarray) or len(size) != 2:
        raise UsageError(f"the size is {size!r}: pass height and width, as (256, 128)", argument="size")
    height, width = (check_whole(side, "size", least=1) for side in size)
    return height, width


class _CacheFile:
    """The images [N, H, W, 3], then a JSON object, then its length (8 bytes) and eight bytes that mark a whole file.

    The file's name depends on the images and the size; the object holds the state that the files had, and which of
    them are unreadable.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], size: tuple[int, int], by: Filter) -> None:
        self._paths, self._size, self._by = paths, size, by
        self._shape = (len(paths), *size, 3)
        self._bytes = len(paths) * size[0] * size[1] * 3
        self._state = _digest(str(_state(path)).encode() for path in paths)
        kind = (_FORMAT, *size) if by == "bilinear" else (_FORMAT, *size, by)
        name = _digest([str(kind).encode(), *(os.fsencode(path.absolute()) for path in paths)])
        self._path = folder / f"{name}.images"

    def load(self) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
        """The images, and what is unreadable; None if the file is not there, not whole or older than an image."""
        try:
            with self._path.open("rb") as file:
                length = file.seek(0, os.SEEK_END) - self._bytes
                file.seek(self._bytes)
                tail = file.read() if length >= 16 else b""
            if tail[-8:] != _END or int.from_bytes(tail[-16:-8], "little") != length - 16:
                return None
            note = json.loads(tail[:-16])
            unreadable = {int(i): str(why) for i, why in note["broken"].items()}
            if note["state"] != self._state or any(_readable(self._paths[i]) for i in unreadable):
                return None
            return self._map(), unreadable
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def build(self, progress: Callable[[int, int], None] | None) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Decode everything into a new file; a second process waits for the first and takes its file."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with hold(self._path.with_suffix(".lock"), wait=True):
                return self.load() or self._write(progress)
        except OSError as error:
            if error.errno in NO_ROOM:
                why = f"there is no room in {folder} for the image cache, which takes {self._bytes / 1e9:.2f} GB"
            else:
                why = f"the image cache cannot be written in {folder} ({error.strerror})"
            raise DataError(
                f"{why}: name another folder as cache_dir, or None for no cache", argument="cache_dir"
            ) from None

    def _write(self, progress: Callable[[int, int], None] | None) -> tuple[NDArray[np.uint8], dict[int, str]]:
        unreadable: dict[int, str] = {}
        with atomic_write(self._path) as file:
            # Ask for the room at once: half an hour of decoding is a bad time to find that the disk is full.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, self._bytes)
            for pixels, reasons in decode_all(self._paths, self._size, progress, self._by):
                file.write(pixels.data)
                unreadable |= reasons
            note = json.dumps({"state": self._state, "broken": unreadable}).encode()
            file.write(note + len(note).to_bytes(8, "little") + _END)
        return self._map(), unreadable

    def _map(self) -> NDArray[np.uint8]:
        return np.asarray(np.memmap(self._path, dtype=np.uint8, mode="r", shape=self._shape))


def _readable(path: Path) -> bool:
    """Return whether an unreadable image can be read again: after a fault of the network it is unchanged."""
    try:
        decode(path)
    except DataError:
        return False
    return True


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:32]


# Images to look at.


def read_for_display(path: ImageFile, box: tuple[int, int]) -> Image.Image | None:
    """Read an image to look at: RGB as the network gets it, shrunk to fit `box` (width, height in pixels).

    Returns None where the image cannot be read, whatever the reason: a page or a picture outlives its images.
    """
    try:
        image = Image.fromarray(decode(path))
    except (DataError, OSError, ValueError):  # a name with a null byte is a ValueError
        return None
    image.thumbnail(box, Image.Resampling.LANCZOS)
    return image


_MEMBER = re.compile(r"(?P<folder>.*?)(?P<shard>[^/:]*\.(?P<kind>tar|parquet)):(?P<key>.+)", re.DOTALL)
_READERS = {"tar": webdataset.read, "parquet": parquet.read}


def image_file(text: str) -> ImageFile:
    """The image that `text` names: `shard.tar:KEY.jpg`, where there is such a shard with such an image, or a file."""
    path, match = Path(text), _MEMBER.fullmatch(text)
    if not match or path.is_file():
        return path
    try:
        return _members(match["kind"], match["folder"] or ".", match["shard"]).get(match["key"], path)
    except (DataError, OSError):
        return path


@lru_cache(maxsize=16)
def _members(kind: str, folder: str, shard: str) -> dict[str, Member]:
    """The images of one shard by their names. The name of a shard ends at its first .tar: or .parquet: in a string."""
    samples = _all(kind, folder)
    number = next((n for n, one in enumerate(samples.shards) if PurePosixPath(str(one)).name == shard), -1)
    members = samples.members(np.flatnonzero(samples.rows["shard"] == number))
    return {member.key: member for member in members}


@lru_cache(maxsize=2)
def _all(kind: str, folder: str) -> ShardSamples:
    return _READERS[kind](Path(folder))
