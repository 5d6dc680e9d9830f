"""Check a data set: its counts, its unreadable files, and the images and ids that training and test share."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.data.decode import decode, is_plain
from reidkit.data.shards.reader import StreamedShards, complaints
from reidkit.data.shards.samples import ShardSamples
from reidkit.errors import DataError
from reidkit.terminal import harmless
from reidkit.types import JUNK, NO_CAMERA, SPLITS, beside

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


# Overlap: ids and images that are in training and test, or in a test and in what a model was trained on.
# Images are compared by their bytes, so that a copy under another name or id is found. Ids can only be compared
# within a data set: two sets number their own.


RECORD = "trained_on.json"
"""The file in a run's folder that tells which images its model was trained on."""

HEAD = 1 << 20
"""Bytes of a file that tell it from others, beside its length."""


@dataclass(frozen=True)
class Overlap:
    """How many `ids` of the test, and how many of its `images`, are of the training as well.

    `images` is None where images lie in shards and are not compared. `first`: the lowest of the ids.
    """

    ids: int
    images: int | None
    first: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the counts."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The counts, as the middle of a sentence."""
        names = ", ".join(map(str, self.first)) + (", ..." if self.ids > len(self.first) else "")
        one = self.ids == 1
        ids = f"{self.ids} {'id' if one else 'ids'} ({names})" if self.ids else "0 ids"
        return ids if self.images is None else f"{ids} and {self.images} {'image' if self.images == 1 else 'images'}"

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence, where training and test of one data set share anything."""
        if not self.ids and not self.images:
            return ()
        unless = "" if self.images else ", unless training and test number their ids apart"
        return (
            f"training and test (query and gallery) share {self.words}: scores of a model that is trained here "
            f"are too good{unless}",
        )

    def warnings_of_model(self) -> tuple[str, ...]:
        """Return a sentence, where a model was trained on what it is evaluated on."""
        if not self.ids and not self.images:
            return ()
        return (f"the model was trained on {self.words} of this query and gallery: its scores are too good",)


def find_overlap(dataset: Dataset, *, everything: bool = False) -> Overlap:
    """Return what training and test of a data set share.

    Only images of shared ids are read, or with `everything` all, which finds images under other ids as well.
    """
    test = (dataset.query, dataset.gallery)
    shared = _shared(dataset)
    images = None
    if not any(part.shards for part in (dataset.train, *test)):
        wanted = None if everything else shared
        known = digests(_of(dataset.train, wanted))
        images = sum(digest_of(sample.path) in known for sample in _of(chain(*test), wanted)) if known else 0
    return Overlap(len(shared), images, tuple(sorted(shared)[:3]))


def find_trained(known: frozenset[str], dataset: Dataset) -> Overlap:
    """Return what the test of a data set shares with the images of these digests.

    An id is shared if an image of it is: in the test itself, or in the training images of the same data set.
    """
    if any(part.shards for part in dataset.splits[:3]):
        return find_overlap(dataset)
    found = [sample.pid for sample in chain(dataset.query, dataset.gallery) if digest_of(sample.path) in known]
    trained = {sample.pid for sample in _of(dataset.train, _shared(dataset)) if digest_of(sample.path) in known}
    ids = (trained | set(found)) - {JUNK}
    return Overlap(len(ids), len(found), tuple(sorted(ids)[:3]))


UNKNOWN = (
    "what the model was trained on is not written down beside it (an older run, shards, somebody else's file, or one "
    "moved out of its run's folder): see that it was not these ids"
)


def compare_with_model(model: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what the query and gallery of a data set share with what a model was trained on, and `warnings` of it.

    `trained_on` is an `Overlap` as JSON, None where it is not known; the training images of the data set are then
    compared instead.

    Raises:
        DataError: the model's record is damaged.
    """
    known = read_record(model)
    if known is None:
        return {"trained_on": None, "warnings": (UNKNOWN, *find_overlap(dataset).warnings())}
    shared = find_trained(known, dataset)
    return {"trained_on": shared.as_json(), "warnings": shared.warnings_of_model()}


def digests(samples: Iterable[Sample]) -> frozenset[str]:
    """Return the digests of images; those of files that cannot be read are left out."""
    return frozenset(filter(None, (digest_of(sample.path) for sample in samples)))


def digest_of(path: ImageFile) -> str:
    """Sixteen hexadecimal digits of a file's content; "" where it cannot be read, or is in a shard."""
    if not isinstance(path, Path):
        return ""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            return hashlib.blake2b(length.to_bytes(8, "little") + file.read(HEAD), digest_size=8).hexdigest()
    except OSError:
        return ""


def write_record(folder: Path, name: str, known: frozenset[str], ids: int) -> None:
    """Write down what the model of a run is trained on.

    Raises:
        DataError: the folder cannot be written.
    """
    content = {"format": "reidkit/trained-on/1", "data": name, "ids": ids, "digests": sorted(known)}
    with os_errors_as(folder / RECORD), atomic_write(folder / RECORD) as file:
        file.write(f"{json.dumps(content)}\n".encode())


def read_record(model: Path) -> frozenset[str] | None:
    """Return the digests of what a model, or a run's folder, was trained on; None where that was not recorded.

    Raises:
        DataError: the file is there and damaged.
    """
    path = beside(model, RECORD)
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(str(digest) for digest in value["digests"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise DataError(
            f"{path} is damaged, and would tell what the model was trained on: take it out of the folder"
        ) from None


def _shared(dataset: Dataset) -> frozenset[int]:
    """Return the ids that have training images and others."""
    test = np.union1d(dataset.query.pids, dataset.gallery.pids)
    return frozenset(np.setdiff1d(np.intersect1d(dataset.train.pids, test), [JUNK]).tolist())


def _of(samples: Iterable[Sample], ids: frozenset[int] | None) -> Sequence[Sample]:
    """Return the images of these ids, by default all."""
    return [sample for sample in samples if ids is None or sample.pid in ids]
