"""What is in training and test alike, ids and images, and the record of what a model was trained on.

Images are compared by their bytes, so that a copy under another name or id is found. Ids can only be compared within a
data set: two sets number their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.atomic import atomic_write, os_errors_as
from reidkit.errors import DataError
from reidkit.model_files import beside
from reidkit.types import JUNK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from reidkit.types import Dataset, ImageFile, Sample


RECORD = "trained_on.json"
"""The file in a run's folder that tells which images its model was trained on."""

HEAD = 1 << 20
"""Bytes of a file that tell it from others, beside its length."""


@dataclass(frozen=True)
class Overlap:
    """How many `ids` of the test, and how many of its `images`, are of the training as well.

    `images` is None where images lie in shards and are not compared. `first`: the lowest of the ids; `called`: their
    names, where they have some.
    """

    ids: int
    images: int | None
    first: tuple[int, ...] = ()
    called: tuple[str, ...] = field(default=(), compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {"ids": self.ids, "images": self.images, "first": self.first}

    @property
    def words(self) -> str:
        """The counts, as the middle of a sentence."""
        names = ", ".join(map(str, self.called or self.first)) + (", ..." if self.ids > len(self.first) else "")
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
    return _overlap(shared, images, dataset)


def find_trained(known: frozenset[str], dataset: Dataset) -> Overlap:
    """Return what the test of a data set shares with the images of these digests.

    An id is shared if an image of it is: in the test itself, or in the training images of the same data set.
    """
    if any(part.shards for part in dataset.splits[:3]):
        return find_overlap(dataset)
    found = [sample.pid for sample in chain(dataset.query, dataset.gallery) if digest_of(sample.path) in known]
    trained = {sample.pid for sample in _of(dataset.train, _shared(dataset)) if digest_of(sample.path) in known}
    ids = (trained | set(found)) - {JUNK}
    return _overlap(ids, len(found), dataset)


def _overlap(ids: Collection[int], images: int | None, dataset: Dataset) -> Overlap:
    first = tuple(sorted(ids)[:3])
    return Overlap(len(ids), images, first, tuple(map(dataset.names.pid, first)))


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
