"""The images of shards as a sequence of samples that is kept in columns: a million take tens of megabytes."""

from __future__ import annotations

import hashlib
import math
import reprlib
from dataclasses import dataclass
from functools import reduce
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

import numpy as np

from reidkit.data.formats.labels import INTEGER, label
from reidkit.errors import DataError
from reidkit.terminal import harmless
from reidkit.types import JUNK, NO_CAMERA, NO_NAMES, SPLITS, Dataset, Names, Sample, Samples, as_indices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


ROW = np.dtype(
    [
        ("pid", "<i4"),
        ("camid", "<i4"),
        ("split", "<i1"),
        ("shard", "<i4"),
        ("part", "<i4"),
        ("start", "<i8"),
        ("length", "<i4"),
        ("name", "<i8"),
        ("letters", "<i4"),
    ]
)
"""What is known of an image. `split` counts from 0 in `SPLITS`; `part` is a stretch of the shard that is read at once;
`start` a byte of a tar, or a row of a row group; `length` bytes; `name` and `letters` say where its name is."""


class Shard(Protocol):
    """A file of images. Its string is its path or URL."""

    def read(self, part: int, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
        """Return the files of images of one part, in the order asked for.

        Raises:
            DataError: the shard cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Member:
    """One image in a shard, in the place of a `Path`. Its string is `shard.tar:KEY.jpg`."""

    shard: Shard
    key: str
    part: int
    start: int
    length: int

    @property
    def name(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.key).name

    def read_bytes(self) -> bytes:
        """Return the image file.

        Raises:
            DataError: the shard cannot be read.
        """
        return self.shard.read(self.part, np.array([self.start]), np.array([self.length]))[0]

    def __str__(self) -> str:
        return f"{self.shard}:{self.key}"


class ShardSamples(Samples):
    """N images in shards, kept in columns. A `Sample` is made when it is asked for, and not kept."""

    shards: tuple[Shard, ...]

    def __init__(
        self, shards: tuple[Shard, ...], rows: NDArray[np.void], names: bytes, called: Names = NO_NAMES
    ) -> None:
        """Images `rows` [N], of dtype `ROW`, of `shards`; their names lie in `names`, one after the other.

        `called` says what ids and cameras are called.
        """
        self.shards, self.rows, self.names, self.called = shards, rows, names, called

    @property
    def pids(self) -> NDArray[np.int64]:
        """The id of each image, int64 [N]; -1 is junk."""
        return self.rows["pid"].astype(np.int64)

    @property
    def camids(self) -> NDArray[np.int64]:
        """The camera of each image, int64 [N]; -1 is unknown."""
        return self.rows["camid"].astype(np.int64)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Images that are read at once have the same number: the part and shard of each, int64 [N], from 0 on."""
        pairs = self.rows["shard"].astype(np.int64) << 32 | self.rows["part"]
        return np.unique(pairs, return_inverse=True)[1].astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Sample: ...

    @overload
    def __getitem__(self, at: slice) -> ShardSamples: ...

    def __getitem__(self, at: int | slice) -> Sample | ShardSamples:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        return self._sample(self.rows[at].item())

    def __iter__(self) -> Iterator[Sample]:
        for first in range(0, len(self), 1024):
            yield from map(self._sample, self.rows[first : first + 1024].tolist())

    def _sample(self, row: tuple[int, ...]) -> Sample:
        pid, camid, _, shard, part, start, length, name, letters = row
        key = shown(self.names[name : name + letters])
        return Sample(Member(self.shards[shard], key, part, start, length), pid, camid)

    def members(self, indices: NDArray[np.int64]) -> list[Member]:
        """Return the places of some of the images."""
        return [sample.path for sample in self.take(indices) if isinstance(sample.path, Member)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShardSamples):
            return super().__eq__(other)
        return self.shards == other.shards and bool(np.array_equal(self.rows, other.rows)) and self.names == other.names

    __hash__ = None

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> ShardSamples:
        """Return some of the images, in the order of `rows` int64 [M], which are indices or a mask bool [N]."""
        return ShardSamples(self.shards, self.rows[as_indices(rows, len(self))], self.names, self.called)

    def renumbered(self, pid_offset: int, camid_offset: int) -> ShardSamples:
        """The same images with pids and camids higher by these offsets; junk and unknown cameras keep their -1.

        Raises:
            DataError: one does not fit into the columns any more.
        """
        if not pid_offset and not camid_offset:
            return self
        rows = self.rows.copy()
        for column, offset, none in (("pid", pid_offset, JUNK), ("camid", camid_offset, NO_CAMERA)):
            numbers = rows[column].astype(np.int64)
            numbers[numbers != none] += offset
            if numbers.max(initial=0) > np.iinfo(np.int32).max:
                raise DataError(
                    f"the {column}s of several data sets of shards end above {np.iinfo(np.int32).max:,}: write the "
                    "shards with names for them, or with smaller numbers"
                )
            rows[column] = numbers
        return ShardSamples(self.shards, rows, self.names, self.called.shifted(pid_offset, camid_offset))

    def read(self, indices: NDArray[np.int64]) -> list[bytes]:
        """Return the files of images of one group, read together where they lie together.

        Raises:
            DataError: the shard cannot be read.
        """
        rows = self.rows[indices]
        shard = self.shards[int(rows["shard"][0])]
        return shard.read(int(rows["part"][0]), rows["start"].astype(np.int64), rows["length"].astype(np.int64))

    def digest(self) -> str:
        """Return a short name of these images in this order, with their ids and the names of their shards."""
        total = hashlib.sha256("\0".join(PurePosixPath(str(shard)).name for shard in self.shards).encode())
        for column in ("pid", "shard", "part", "start", "length"):
            total.update(np.ascontiguousarray(self.rows[column]).data)
        return total.hexdigest()[:16]


def joined(several: Sequence[ShardSamples]) -> ShardSamples:
    """Return the images of several as one sequence."""
    rows, first, letters = [], 0, 0
    for samples in several:
        moved = samples.rows.copy()
        moved["shard"] += first
        moved["name"] += letters
        rows.append(moved)
        first, letters = first + len(samples.shards), letters + len(samples.names)
    shards = tuple(shard for samples in several for shard in samples.shards)
    called = reduce(Names.merged_with, (samples.called for samples in several), NO_NAMES)
    return ShardSamples(shards, np.concatenate(rows), b"".join(samples.names for samples in several), called)


def as_dataset(name: str, samples: ShardSamples, notes: Sequence[str] = ()) -> Dataset:
    """Return the splits of `samples`, each in its order, without the junk, which comes together."""
    split, junk = samples.rows["split"], samples.rows["pid"] == JUNK
    train, query, gallery = (samples.take(np.flatnonzero((split == n) & ~junk)) for n in range(len(SPLITS)))
    left_out = samples.take(np.flatnonzero(junk))
    return Dataset(name, train, query, gallery, left_out, names=samples.called, notes=notes)


def shown(key: bytes) -> str:
    r"""A name out of a shard as text that is harmless to print: what is not UTF-8, or not to be seen, becomes \xNN."""
    return harmless(key.decode("utf-8", "backslashreplace"))


def shown_text(text: str) -> str:
    r"""A text out of a shard as `shown` gives a name: lone surrogates, which no terminal takes, become \uNNNN."""
    return shown(text.encode("utf-8", "backslashreplace"))


# The labels of an image in a shard.

_HIGHEST = 10**9


class Facts(NamedTuple):
    """The labels of an image, checked: an integer or a name each for pid and camid, and the number of its split.

    `pid_name` and `camid_name` are what these are called where they are numbers that stand for names, else "".
    """

    pid: int | str
    camid: int | str
    split: int
    pid_name: str = ""
    camid_name: str = ""


def checked(raw: RawFacts, split_of_shard: str, where: str) -> Facts:
    """Check the labels of an image; where it has no split, that of the shard counts.

    Raises:
        DataError: a label cannot be used, or there is no split; `where` begins the sentence.
    """
    split = raw.split
    if split is None and not split_of_shard:
        raise DataError(
            f"{where} says no split, nor does the name of the shard: begin that with train, query or gallery"
        )
    split = split or split_of_shard
    if split not in SPLITS:
        raise DataError(f"{where}: {shown_text(f'split {reprlib.repr(split)} is none of ' + ', '.join(SPLITS))}")
    try:
        pid = _label(raw.pid, "pid")
        camid = NO_CAMERA if _is_missing(raw.camid) else _label(raw.camid, "camid")
    except DataError as error:
        raise DataError(f"{where}: {shown_text(str(error))}") from None
    names = (name if isinstance(name, str) else "" for name in (raw.pid_name, raw.camid_name))
    return Facts(pid, camid, SPLITS.index(split), *names)


class RawFacts(NamedTuple):
    """What was found beside an image, whatever it is; None where there was nothing."""

    pid: Any
    camid: Any = None
    split: Any = None
    pid_name: Any = None
    camid_name: Any = None


def _is_missing(value: object) -> bool:
    """Return whether there is no camera: nothing, or what pandas puts into a gap."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _label(value: object, column: str) -> int | str:
    """Return an id or a camera: integers as such, all else as text."""
    if isinstance(value, float) and abs(value) < _HIGHEST and value == int(value):
        value = int(value)  # as pandas has whole numbers beside a gap
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{column} {reprlib.repr(value)} is neither a number nor a name{_REMEDY[column]}")
    if type(value) is int and -1 <= value < _HIGHEST:
        return value
    try:
        text = label(str(value), column)
    except DataError as error:
        raise DataError(f"{error}{_REMEDY[column]}") from None
    return int(text) if INTEGER.fullmatch(text) and str(int(text)) == text else text


_REMEDY = {"pid": "", "camid": ": leave it out if it is not known"}
