"""Check a data set: its counts, its first ids and cameras, and the files that cannot be read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.decode import decode, is_plain
from reidkit.data.shards.reader import StreamedShards, complaints
from reidkit.data.shards.samples import ShardSamples
from reidkit.errors import DataError
from reidkit.terminal import harmless
from reidkit.types import NO_CAMERA, SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from reidkit.types import Dataset, ImageFile, Names, Sample, Samples


EXAMPLES = 3
"""Ids of a split that are named."""

PLAIN = "all of its pixels have one value"

_ANY_SIZE = (1, 1)
"""Images are only looked at here, as large as they are."""

CHUNK = 64
"""Images that a thread decodes at a time; progress is reported after each chunk."""


@dataclass(frozen=True)
class Split:
    """Counts of one split. `without_camera` counts images; `fewest`, `median` and `most` are images per id."""

    images: int
    ids: int
    cameras: int
    without_camera: int
    fewest: int
    median: float
    most: int


@dataclass(frozen=True)
class Example:
    """What was read of one image, the first one of an id: the numbers, and what they are called."""

    split: str
    path: str
    pid: int
    id: str
    camid: int | None
    camera: str | None


@dataclass(frozen=True)
class Description:
    """Counts of a data set. `junk` are images left out; `distractors` gallery images of ids without a query.

    `first` are the first images of a few ids of each split, with the id and the camera that were read; `cameras` are
    all cameras. `passed_over` counts the files of the folder that are not read, by kind; `notes` as of the data set.
    """

    name: str
    train: Split
    query: Split
    gallery: Split
    junk: int
    distractors: int
    first: tuple[Example, ...] = ()
    cameras: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be used as an image, and why."""

    path: ImageFile
    reason: str


def describe(dataset: Dataset) -> Description:
    """Count what is in a data set. No image is opened."""
    asked = np.unique(dataset.query.pids)
    return Description(
        name=dataset.name,
        train=_count(dataset.train),
        query=_count(dataset.query),
        gallery=_count(dataset.gallery),
        junk=len(dataset.junk),
        distractors=int((~np.isin(dataset.gallery.pids, asked)).sum()),
        first=tuple(example for name in SPLITS for example in _first(dataset, name)),
        cameras=_cameras_of(dataset),
        passed_over=dict(dataset.passed_over),
        notes=dataset.notes,
    )


def _first(dataset: Dataset, split: str) -> list[Example]:
    """Return the first image of each of the first few ids."""
    samples: Samples = getattr(dataset, split)
    pids, rows = np.unique(samples.pids, return_index=True)
    found = [samples[int(row)] for row in sorted(rows)[:EXAMPLES]] if len(pids) else []
    return [_example(sample, split, dataset.names) for sample in found]


def _example(sample: Sample, split: str, names: Names) -> Example:
    pid, camid = int(sample.pid), None if sample.camid == NO_CAMERA else int(sample.camid)
    camera = None if camid is None else names.camid(camid)
    return Example(split, str(sample.path), pid, names.pid(pid), camid, camera)


def _cameras_of(dataset: Dataset) -> tuple[str, ...]:
    camids = np.unique(np.concatenate([getattr(dataset, name).camids for name in SPLITS]))
    return tuple(dataset.names.camid(camid) for camid in camids[camids != NO_CAMERA].tolist())


@dataclass(frozen=True)
class Inspection:
    """Files that cannot be used, and images of which all pixels have one value: they show nothing."""

    unreadable: tuple[Unreadable, ...]
    plain: tuple[ImageFile, ...]


def find_unreadable(
    samples: Iterable[Sample], progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> tuple[Unreadable, ...]:
    """Return the files that cannot be decoded, as `inspect` finds them."""
    return inspect(samples, progress, threads).unreadable


def inspect(
    samples: Iterable[Sample], progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> Inspection:
    """Decode every file from first byte to last, each once; what is found is in the order of `samples`.

    `progress` is called with the number of files done and the number of all files, in the caller's thread.
    `threads` is 1 or more; None takes one per core. Images of shards are read shard by shard.
    """
    if isinstance(samples, ShardSamples):
        return _find_in_shards(samples, progress)
    paths = list(dict.fromkeys(sample.path for sample in samples))
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    found: list[Unreadable] = []
    done = 0
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for chunk, unreadable in zip(chunks, pool.map(_find_unreadable, chunks), strict=True):
            found += unreadable
            done += len(chunk)
            if progress is not None:
                progress(done, len(paths))
    return _sorted_out(found)


def _sorted_out(found: Iterable[Unreadable]) -> Inspection:
    found = tuple(found)
    return Inspection(
        tuple(one for one in found if one.reason != PLAIN), tuple(one.path for one in found if one.reason == PLAIN)
    )


def _find_in_shards(samples: ShardSamples, progress: Callable[[int, int], None] | None) -> Inspection:
    source = StreamedShards(samples, np.arange(len(samples)), _ANY_SIZE)
    unreadable = sorted(complaints(source, progress, _look)) if len(samples) else []
    found = []
    for index, why in unreadable:
        path = samples[index].path
        found.append(Unreadable(path, why.removeprefix(f"{harmless(str(path))} ")))
    return _sorted_out(found)


def _count(samples: Samples) -> Split:
    pids, images = np.unique(samples.pids, return_counts=True)
    camids = samples.camids
    images = images if len(images) else np.zeros(1, dtype=np.int64)
    return Split(
        images=len(samples),
        ids=len(pids),
        cameras=len(np.unique(camids[camids != NO_CAMERA])),
        without_camera=int((camids == NO_CAMERA).sum()),
        fewest=int(images.min()),
        median=float(np.median(images)),
        most=int(images.max()),
    )


def _find_unreadable(paths: Sequence[ImageFile]) -> list[Unreadable]:
    return [Unreadable(path, reason) for path in paths if (reason := _reason(path))]


def _reason(path: ImageFile) -> str:
    try:
        return _look(decode(path)) or ""
    except DataError as error:
        return str(error).removeprefix(f"{harmless(str(path))} ")


def _look(pixels: NDArray[np.uint8]) -> str | None:
    return PLAIN if is_plain(pixels) else None
