"""What the parts of reidkit hand to each other. No torch here: the command line must start at once."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

from reidkit.errors import DataError, UsageError
from reidkit.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

JUNK = -1
"""The `pid` of an image of no id, which is never scored (Market-1501: a bad detection)."""

NO_CAMERA = -1
"""The `camid` of an image whose camera is not known."""

Split = Literal["train", "query", "gallery"]
SPLITS: tuple[Split, ...] = ("train", "query", "gallery")
"""The splits of a data set, as tables, folders and shards spell them and as `Dataset` has them."""

LOG_COLUMNS = ("kind", "epoch", "step", "lr", "images", "loss", "seconds", "images_per_s", "memory_mb", "wait_share")
"""The columns that the log of a training may have beside its loss terms: no term can be called so."""

Metric = Literal["cosine", "euclidean"]
"""How features are compared."""

Cameras = Literal["cross", "any"]
"""`cross`: a gallery image of the query's own id and camera is left out of its list, as in all benchmarks; two unknown
cameras are taken for the same one. `any`: cameras do not matter.

Under both an image is never its own match: the query's own file is left out, whatever path or link leads to it. Where
either side has no paths, no file is known."""

FeatureWord = Literal["after", "before"]
"""How commands and tables say which feature is compared: f_i after the neck, or f_t before it."""

RerankMethod = Literal["k-reciprocal", "ecn", "ecn-original", "expansion"]
"""How ranked lists are put in another order, each with the numbers that its authors recommend.

`k-reciprocal`: Zhong et al. 2017. `ecn` and `ecn-original`: expanded cross neighbourhoods by rank lists and by the
original distance (Sarfraz et al. 2018). `expansion`: alpha query expansion (Radenović et al. 2018)."""

RescoreMethod = Literal["path", "attention"]
"""How the top of ranked lists is put in another order by sequences of vectors: rows, or places, of feature maps."""

Missing = Literal["refuse", "ones"]
"""What is done where images have no mask: nothing is begun, or all ones are taken for it."""

Precision = Literal["auto", "fp32", "bf16"]
"""What a network computes in; `auto` is bf16 where the device has it."""

SYNTHETIC = "Synthetic person re-identification data: nobody in these images is real."
"""How the README.txt of a synthetic data set begins, so that its scores can be labelled."""


class ImageFile(Protocol):
    """Where an image lies: a `Path`, or a place in a shard, whose string is `shard.tar:KEY.jpg`."""

    @property
    def name(self) -> str:
        """The last part of its name."""

    def read_bytes(self) -> bytes:
        """Return the image file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, of one id, by one camera; a path given as text becomes a `Path`.

    Raises:
        DataError: an id or a camera is no whole number, or below -1; the path is none, but an image, say.
    """

    path: ImageFile
    pid: int
    camid: int

    def __init__(self, path: ImageFile | str, pid: int, camid: int) -> None:
        for name, number in (("pid", pid), ("camid", camid)):
            if not (type(number) is int or isinstance(number, Integral)) or not JUNK <= number < 2**63:
                raise DataError(f"the {name} of {path} is {number!r}: give a whole number from 0 on, or -1")
            object.__setattr__(self, name, number)
        if not isinstance(path, str) and not hasattr(path, "read_bytes"):
            raise DataError(f"the path of a sample is of type {type(path).__name__}: save the image, and pass its path")
        object.__setattr__(self, "path", Path(path) if isinstance(path, str) else path)


@dataclass(frozen=True)
class Names:
    """What ids and cameras are called where their pids and camids stand for names. A number without one is its own."""

    pids: Mapping[int, str] = field(default_factory=dict)
    camids: Mapping[int, str] = field(default_factory=dict)

    def pid(self, number: int) -> str:
        """Return the name of an id, or its number."""
        return self.pids.get(number, str(number))

    def camid(self, number: int) -> str:
        """Return the name of a camera, or its number."""
        return self.camids.get(number, str(number))

    def check_agree(self, other: Names) -> None:
        """Raise if a number is called one thing here and another there: each side has numbered its own names.

        Raises:
            DataError: the sentence names the first such id or camera.
        """
        for kind, ours, theirs in (("id", self.pids, other.pids), ("camera", self.camids, other.camids)):
            number = next((n for n in ours.keys() & theirs.keys() if ours[n] != theirs[n]), None)
            if number is not None:
                raise DataError(
                    f"{kind} {number} is {ours[number]} in the query and {theirs[number]} in the gallery: they come "
                    "from two data sets, each with its own numbers; make both from one"
                )

    def shifted(self, pid_offset: int, camid_offset: int) -> Names:
        """Return the same names for numbers that are higher by these offsets."""
        return Names(
            {number + pid_offset: name for number, name in self.pids.items()},
            {number + camid_offset: name for number, name in self.camids.items()},
        )

    def restricted_to(self, pids: Collection[int], camids: Collection[int]) -> Names:
        """Return the names of these ids and cameras alone."""
        return Names(
            {number: name for number, name in self.pids.items() if number in pids},
            {number: name for number, name in self.camids.items() if number in camids},
        )

    def merged_with(self, other: Names) -> Names:
        """Return these names and those of others."""
        return Names({**self.pids, **other.pids}, {**self.camids, **other.camids})

    def __bool__(self) -> bool:
        return bool(self.pids or self.camids)


NO_NAMES = Names()


class Samples(Sequence[Sample]):
    """N images as a table: a sequence of `Sample` that also has its columns.

    A subclass gives a sequence, `take` and `renumbered`, and overrides whatever it has without making every `Sample`:
    images in shards are too many for an object each.
    """

    shards: tuple[object, ...] = ()
    """The files that hold the images, where they lie in shards; their strings are paths or URLs. Else ()."""

    @overload
    def __getitem__(self, at: int) -> Sample: ...

    @overload
    def __getitem__(self, at: slice) -> Samples: ...

    @abstractmethod
    def __getitem__(self, at: int | slice) -> Sample | Samples: ...

    @abstractmethod
    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Samples:
        """Return some of the images, in the order of `rows` int64 [M], which are indices or a mask bool [N]."""

    @abstractmethod
    def renumbered(self, pid_offset: int, camid_offset: int) -> Samples:
        """The same images with pids and camids higher by these offsets; junk and unknown cameras keep their -1."""

    @property
    def pids(self) -> NDArray[np.int64]:
        """The id of each image, int64 [N]; -1 is junk."""
        import numpy as np

        return np.fromiter((sample.pid for sample in self), dtype=np.int64, count=len(self))

    @property
    def camids(self) -> NDArray[np.int64]:
        """The camera of each image, int64 [N]; -1 is unknown."""
        import numpy as np

        return np.fromiter((sample.camid for sample in self), dtype=np.int64, count=len(self))

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of each image; of one in a shard `shard.tar:KEY.jpg`."""
        return tuple(str(sample.path) for sample in self)

    def digest(self) -> str:
        """Sixteen hexadecimal digits of the names and ids in this order: they change where a training run would."""
        total = hashlib.sha256()
        for sample in self:
            total.update(f"{sample.path.name}\0{sample.pid}\n".encode(errors="surrogateescape"))
        return total.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a sequence of the same samples."""
        if not isinstance(other, Samples | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        ids, cameras = set(self.pids.tolist()) - {JUNK}, set(self.camids.tolist()) - {NO_CAMERA}
        counts = ((len(self), "image"), (len(ids), "id"), (len(cameras), "camera"))
        return f"{type(self).__name__}({', '.join(counted(count, noun) for count, noun in counts)})"


class SampleTable(Samples):
    """Images in files of their own."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._samples = tuple(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    @overload
    def __getitem__(self, at: int) -> Sample: ...

    @overload
    def __getitem__(self, at: slice) -> SampleTable: ...

    def __getitem__(self, at: int | slice) -> Sample | SampleTable:
        return SampleTable(self._samples[at]) if isinstance(at, slice) else self._samples[at]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> SampleTable:
        """Return some of the images, in the order of `rows` int64 [M], which are indices or a mask bool [N]."""
        return SampleTable(self._samples[row] for row in as_indices(rows, len(self)).tolist())

    def renumbered(self, pid_offset: int, camid_offset: int) -> SampleTable:
        """The same images with pids and camids higher by these offsets; junk and unknown cameras keep their -1."""
        if not pid_offset and not camid_offset:
            return self
        return SampleTable(
            Sample(
                sample.path,
                sample.pid if sample.pid == JUNK else sample.pid + pid_offset,
                sample.camid if sample.camid == NO_CAMERA else sample.camid + camid_offset,
            )
            for sample in self
        )


def as_samples(samples: Iterable[Sample]) -> Samples:
    """Return a table of these images: the one that it is already, or a new one; a `UsageError`: they are no samples."""
    if isinstance(samples, Samples):
        return samples
    table = tuple(samples) if isinstance(samples, Iterable) else (None,)
    if not all(isinstance(each, Sample) for each in table):
        raise UsageError(f"a {type(samples).__name__} is no list of samples: pass [Sample(path, pid, camid), ...]")
    return SampleTable(table)


def as_indices(rows: Sequence[int] | NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the numbers of rows that these are, or are a mask of; a `UsageError`: they are neither."""
    import numpy as np

    array = np.asarray(rows)
    mask = array.dtype == np.bool_
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biu") or (mask and len(array) != count):
        found = f"{array.dtype} {list(array.shape)}"
        raise UsageError(f"rows are {found}: pass numbers of images, or a mask of all {count}", argument="rows")
    return np.flatnonzero(array) if mask else array.astype(np.int64)


@dataclass(frozen=True, init=False)
class Dataset:
    """A data set: images to learn from, and queries to find in a gallery.

    `junk` holds the images of the test folders that the data set's rule leaves out of both. Each split is a table
    (`Samples`), whatever sequence of samples it is made of. `names` says what ids and cameras are called.
    `passed_over` counts, by kind, the files that lie in its folder and are not read; `notes` say in a sentence each
    what was decided for its layout and could have been decided otherwise.
    """

    name: str
    train: Samples
    query: Samples
    gallery: Samples
    junk: Samples = field(repr=False)
    names: Names = field(repr=False, hash=False)
    passed_over: Mapping[str, int] = field(repr=False, compare=False)
    notes: tuple[str, ...] = field(repr=False, compare=False)

    def __init__(  # noqa: PLR0913 (the fields; those after the splits by name only)
        self,
        name: str,
        train: Iterable[Sample] = (),
        query: Iterable[Sample] = (),
        gallery: Iterable[Sample] = (),
        junk: Iterable[Sample] = (),
        *,
        names: Names = NO_NAMES,
        passed_over: Mapping[str, int] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        tables = {"train": train, "query": query, "gallery": gallery, "junk": junk}
        values = {split: as_samples(samples) for split, samples in tables.items()}
        told = {"passed_over": passed_over or {}, "notes": tuple(notes)}
        for key, value in {"name": name, **values, "names": names, **told}.items():
            object.__setattr__(self, key, value)

    @property
    def splits(self) -> tuple[Samples, Samples, Samples, Samples]:
        """Train, query, gallery and junk."""
        return self.train, self.query, self.gallery, self.junk


@dataclass(frozen=True, eq=False, init=False)
class Embeddings:
    """Features of N images: `vectors` float32 [N, D], `pids` int64 [N] (-1 junk), `camids` int64 [N] (-1 unknown).

    Lists, and labels in uint64, become arrays of these types; other arrays stay as they are, mapped ones too. `model`
    is the fingerprint of the weights that made them, or "" when it is not known. Where rows were made of several images
    each, `sources` has the paths of all of them; else a row is the image of its path. `names` says what ids and cameras
    are called. Shapes are checked where features are read, written or compared, by a sentence that names the file.

    Raises:
        DataError: a list is no array: its rows have different lengths, or a label is no whole number of an int64.
    """

    vectors: NDArray[np.float32]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    model: str = ""
    paths: tuple[str, ...] = ()
    sources: tuple[tuple[str, ...], ...] = ()
    names: Names = field(default=NO_NAMES, kw_only=True)

    def __init__(  # noqa: PLR0913 (the fields)
        self,
        vectors: ArrayLike,
        pids: ArrayLike,
        camids: ArrayLike,
        model: str = "",
        paths: Sequence[str] = (),
        sources: Sequence[Sequence[str]] = (),
        *,
        names: Names = NO_NAMES,
    ) -> None:
        import numpy as np

        values = {"vectors": _as_array(vectors, np.float32, "vectors")}
        values |= {name: _as_array(given, np.int64, name) for name, given in (("pids", pids), ("camids", camids))}
        if any(isinstance(each, str) for each in sources):
            raise DataError("sources are paths: give a list of paths for each row, or pass them as paths")
        several = tuple(tuple(map(str, each)) for each in sources)
        values |= {"model": model, "paths": tuple(map(str, paths)), "sources": several, "names": names}
        vars(self).update(values)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        """Return the counts and the model: a list of all paths would fill the screen."""
        import numpy as np

        shape = tuple(self.vectors.shape)
        ids, cameras = (set(np.ravel(labels.tolist()).tolist()) - {JUNK} for labels in (self.pids, self.camids))
        counts = ((shape[0] if shape else 0, "image"), (len(ids), "id"), (len(cameras), "camera"))
        size = f"dim={shape[1]}" if len(shape) == 2 else f"vectors {list(shape)}"
        words = [counted(count, noun) for count, noun in counts]
        return f"Embeddings({', '.join(words)}, model {self.model or 'not known'}, {size})"


def _as_array(value: Any, dtype: type[np.generic], name: str) -> Any:
    """Return a list as an array; whatever is an array already, of NumPy or torch, stays, but for labels in uint64."""
    import numpy as np

    labels, over = dtype is np.int64, "over query and gallery together, as by np.unique"
    if hasattr(value, "dtype") and not (labels and value.dtype == np.uint64):
        return value
    try:
        array = np.asarray(value)
        with np.errstate(invalid="ignore"):  # floats are refused below
            found = array.astype(dtype)
    except (OverflowError, TypeError, ValueError) as error:
        of = f"; names are numbered {over}" if labels else ""
        raise DataError(f"{name} are no array ({error}): give a list of numbers, one row for each image{of}") from None
    if labels and array.size and array.dtype.kind not in "iu":
        raise DataError(f"{name} are {array.dtype}: give one whole number for each image")
    if labels and array.size and array.max() >= 2**63:
        raise DataError(f"{name} hold {array.max()}, which is above 2**63 - 1: number them {over}")
    return found
