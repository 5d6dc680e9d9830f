"""What the parts of reidkit hand to each other. No torch here: the command line must start at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

JUNK = -1
"""The `pid` of an image that shows nobody in particular and is never scored (Market-1501: a bad detection)."""

NO_CAMERA = -1
"""The `camid` of an image whose camera is not known."""


SYNTHETIC = "Synthetic person re-identification data: nobody in these images is real."
"""How the README.txt of a drawn data set begins, so that its scores can be labelled."""


_ONCE_FROM_0 = ("market1501", "synthetic", "dukemtmc", "msmt17", "veri776", "cuhk03")


def counted_lower(data: str) -> int:
    """How much lower than its own numbers the first version counted the cameras of the data set of this name.

    Camera `c1` of Market-1501 had the camid 0 then, while `c1` of own images had 1. Files of that time are still read.
    """
    return int(data.startswith(_ONCE_FROM_0))


class ImageFile(Protocol):
    """Where an image lies: a `Path`, or a place in a shard, whose string is `shard.tar:KEY.jpg`."""

    @property
    def name(self) -> str:
        """The last part of its name."""

    def read_bytes(self) -> bytes:
        """The image file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of one person seen by one camera."""

    path: ImageFile
    pid: int
    camid: int


@dataclass(frozen=True)
class Names:
    """What ids and cameras are called where their pids and camids stand for names. A number without one is its own."""

    pids: Mapping[int, str] = field(default_factory=dict)
    camids: Mapping[int, str] = field(default_factory=dict)

    def pid(self, number: int) -> str:
        """The name of an id, or its number."""
        return self.pids.get(number, str(number))

    def camid(self, number: int) -> str:
        """The name of a camera, or its number."""
        return self.camids.get(number, str(number))

    def refuse_others(self, other: Names) -> None:
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

    def moved(self, pids: int, camids: int) -> Names:
        """The same names of ids and cameras that are numbered so much higher."""
        return Names(
            {number + pids: name for number, name in self.pids.items()},
            {number + camids: name for number, name in self.camids.items()},
        )

    def only(self, pids: Collection[int], camids: Collection[int]) -> Names:
        """Those of these ids and cameras."""
        return Names(
            {number: name for number, name in self.pids.items() if number in pids},
            {number: name for number, name in self.camids.items() if number in camids},
        )

    def and_of(self, other: Names) -> Names:
        """These names and those of others."""
        return Names({**self.pids, **other.pids}, {**self.camids, **other.camids})

    def __bool__(self) -> bool:
        return bool(self.pids or self.camids)


NO_NAMES = Names()


@dataclass(frozen=True)
class Dataset:
    """A data set: images to learn from, and queries to find in a gallery.

    `junk` holds the images of the test folders that the data set's rule leaves out of both. Where there are too many
    images for an object each (shards), a split is a sequence that makes them as they are asked for. `names` says what
    ids and cameras are called. `passed_over` counts, by kind, the files that lie in its folder and are not read.
    """

    name: str
    train: Sequence[Sample] = ()
    query: Sequence[Sample] = ()
    gallery: Sequence[Sample] = ()
    junk: Sequence[Sample] = field(default=(), repr=False)
    names: Names = field(default=NO_NAMES, repr=False, hash=False, kw_only=True)
    passed_over: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False, kw_only=True)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of N images: `vectors` float32 [N, D], `pids` int64 [N] (-1 junk), `camids` int64 [N] (-1 unknown).

    `model` is the fingerprint of the weights that made them, or "" when it is not known. Where rows were made of
    several images each, `sources` has the paths of all of them; else a row is the image of its path. `names` says
    what ids and cameras are called.
    """

    vectors: NDArray[np.float32]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    model: str = ""
    paths: tuple[str, ...] = ()
    sources: tuple[tuple[str, ...], ...] = ()
    names: Names = field(default=NO_NAMES, kw_only=True)
